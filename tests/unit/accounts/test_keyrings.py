from datetime import UTC, datetime, timedelta

import pytest

from models.accounts.keyrings import Keyring
from models.errors import Conflict
from models.platform.vault import Unopenable, Vault

FIRST, SECOND = "first-secret-of-at-least-32-letters", "second-secret-of-at-least-32-letters"
VAULT = Vault(FIRST)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ring(plain: str) -> Keyring:
    return Keyring(b"row", VAULT.seal(plain, b"row"), None, None)


def test_a_rotated_pair_signs_beside_the_fresh_one_for_a_day() -> None:
    rotated = ring("whsec_a whsk_a").rotated(VAULT, "whsec_b whsk_b", NOW)
    both = ("whsec_b", "whsk_b", "whsec_a", "whsk_a")
    assert rotated.opened(VAULT, NOW) == rotated.opened(VAULT, NOW + 23 * HOUR) == both
    assert rotated.opened(VAULT, NOW + 24 * HOUR) == both[:2]


def test_a_second_rotation_within_the_day_keeps_both_because_a_receiver_may_stand_in_between() -> (
    None
):
    twice = (
        ring("whsec_a")
        .rotated(VAULT, "whsec_b whsk_b", NOW)
        .rotated(VAULT, "whsec_c whsk_c", NOW + HOUR)
    )
    held = ("whsec_c", "whsk_c", "whsec_b", "whsk_b", "whsec_a")
    assert twice.opened(VAULT, NOW + 24 * HOUR) == held
    later = twice.rotated(VAULT, "whsec_d", NOW + 26 * HOUR)
    assert later.opened(VAULT, NOW + 26 * HOUR) == ("whsec_d", "whsec_c", "whsk_c")


def test_rotations_without_end_do_not_make_a_header_without_end() -> None:
    many = ring("whsec_0 whsk_0")
    for n in range(1, 4):
        many = many.rotated(VAULT, f"whsec_{n} whsk_{n}", NOW + n * HOUR)
    signing = ["whsec_3", "whsec_2", "whsec_1", "whsec_0"]
    at = NOW + 26 * HOUR
    with pytest.raises(Conflict, match="rotate again after 2026-11-02T03:00:00"):
        many.rotated(VAULT, "whsec_4 whsk_4", at)
    assert [each for each in many.opened(VAULT, at) if each.startswith("whsec_")] == signing
    later = NOW + 27 * HOUR
    fresh = many.rotated(VAULT, "whsec_4 whsk_4", later)
    assert fresh.opened(VAULT, later) == ("whsec_4", "whsk_4", "whsec_3", "whsk_3")


def test_what_is_resealed_opens_with_the_new_secret_alone() -> None:
    rotated = ring("whsec_a whsk_a").rotated(VAULT, "whsec_b whsk_b", NOW)
    anew = rotated.resealed(Vault(SECOND, FIRST), NOW)
    assert anew.opened(Vault(SECOND), NOW) == rotated.opened(VAULT, NOW)
    assert anew.resealed(Vault(SECOND, FIRST), NOW) == anew, "a second time changes nothing"


def test_what_signs_no_more_is_not_kept() -> None:
    rotated = ring("whsec_a").rotated(VAULT, "whsec_b", NOW)
    assert rotated.resealed(VAULT, NOW + 25 * HOUR).old is None
    with pytest.raises(Unopenable):
        rotated.resealed(Vault(SECOND), NOW)
