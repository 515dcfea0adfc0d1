import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.platform.vault import Unopenable, Vault

FIRST, SECOND = "first-secret-of-at-least-32-letters", "second-secret-of-at-least-32-letters"
VAULT = Vault(FIRST)


def flip(data: bytes, bit: int) -> bytes:
    at, low = divmod(bit, 8)
    return data[:at] + bytes([data[at] ^ 1 << low]) + data[at + 1 :]


@settings(max_examples=200, deadline=None)
@given(st.text(), st.binary(max_size=40))
def test_what_was_sealed_opens_in_its_context(plain: str, context: bytes) -> None:
    sealed = VAULT.seal(plain, context)
    assert Vault(FIRST).open(sealed, context) == plain
    with pytest.raises(Unopenable):
        VAULT.open(sealed, context + b"!")


def test_the_same_secret_is_never_sealed_alike_nor_readable() -> None:
    one, other = VAULT.seal("whsec_abc", b"whk_1"), VAULT.seal("whsec_abc", b"whk_1")
    assert one != other
    assert b"whsec" not in one


def test_no_bit_of_what_was_sealed_can_be_changed() -> None:
    sealed = VAULT.seal("whsec_abc", b"whk_1")
    for bit in range(len(sealed) * 8):
        with pytest.raises(Unopenable):
            VAULT.open(flip(sealed, bit), b"whk_1")


@pytest.mark.parametrize("length", [0, 1, 5, 16, 17, 32])
def test_what_was_cut_short_does_not_open(length: int) -> None:
    with pytest.raises(Unopenable):
        VAULT.open(VAULT.seal("whsec_abc", b"whk_1")[:length], b"whk_1")


def test_after_a_rotation_the_old_secret_still_opens_and_verifies() -> None:
    sealed, mac = VAULT.seal("whsec_abc", b"whk_1"), VAULT.mac(b"/v1/jobs/1/image")
    rotated = Vault(SECOND, FIRST)
    assert rotated.open(sealed, b"whk_1") == "whsec_abc"
    assert rotated.verify(b"/v1/jobs/1/image", mac)


def test_after_a_rotation_only_the_new_secret_seals_and_signs() -> None:
    rotated, new = Vault(SECOND, FIRST), Vault(SECOND)
    assert new.open(rotated.seal("whsec_abc", b"whk_1"), b"whk_1") == "whsec_abc"
    assert new.verify(b"m", rotated.mac(b"m"))
    assert not VAULT.verify(b"m", rotated.mac(b"m"))


def test_when_the_old_secret_is_gone_what_it_sealed_stays_shut() -> None:
    with pytest.raises(Unopenable, match="DARKROOM_SECRET"):
        Vault(SECOND).open(VAULT.seal("whsec_abc", b"whk_1"), b"whk_1")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.data())
def test_a_signature_holds_for_its_message_only(message: bytes, data: st.DataObject) -> None:
    mac = VAULT.mac(message)
    assert VAULT.verify(message, mac)
    assert not VAULT.verify(message + b"!", mac)
    at = data.draw(st.integers(0, len(mac) - 1))
    assert not VAULT.verify(message, mac[:at] + ("A" if mac[at] != "A" else "B") + mac[at + 1 :])


@pytest.mark.parametrize("wrong", ["", "A", "ü" * 22, "\ud800" * 22, "=" * 22])
def test_nonsense_is_not_a_signature(wrong: str) -> None:
    assert not VAULT.verify(b"m", wrong)
    assert not VAULT.verify(b"m", VAULT.mac(b"m") + wrong + "=")


def test_a_signature_suits_a_url_and_has_128_bits() -> None:
    mac = VAULT.mac(b"m")
    assert len(mac) * 6 >= 128
    assert all(letter.isalnum() or letter in "-_" for letter in mac)


def test_a_vault_does_not_print_its_keys() -> None:
    assert repr(Vault(SECOND, FIRST)) == "Vault(2 keys)"
