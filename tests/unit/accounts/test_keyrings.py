from datetime import UTC, datetime, timedelta

import pytest

from models.accounts.keyrings import Keyring
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
    for n in range(1, 9):
        many = many.rotated(VAULT, f"whsec_{n} whsk_{n}", NOW)
    assert [each for each in many.opened(VAULT, NOW) if each.startswith("whsec_")] == [
        "whsec_8", "whsec_7", "whsec_6", "whsec_5",
    ]  # fmt: skip


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
