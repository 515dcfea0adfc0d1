import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from models.webhooks.signing import new_keypair, new_secret, public_key, sign

# The vectors of Standard Webhooks (v1) and of Svix's server (v1a): one message, two schemes.
MESSAGE_ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SHARED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SHARED_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PRIVATE = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
PRIVATE_SIGNATURE = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)

keys = st.binary(min_size=24, max_size=64)
bodies = st.dictionaries(st.text(max_size=8), st.text(max_size=40), max_size=4).map(
    lambda data: json.dumps(data, ensure_ascii=False).encode("utf-8", errors="replace")
)
ids = st.text("abcdefghjkmnpqrstvwxyz0123456789_", min_size=1, max_size=30)


def verifies(public: str, signature: str, message: bytes) -> bool:
    key = Ed25519PublicKey.from_public_bytes(b64decode(public.removeprefix("whpk_")))
    try:
        key.verify(b64decode(signature.removeprefix("v1a,")), message)
    except InvalidSignature:
        return False
    return True


def flip(given: bytes, data: st.DataObject) -> bytes:
    """Flip one bit: any of the lower seven, so that text is still text."""
    at, bit = data.draw(st.integers(0, len(given) - 1)), data.draw(st.integers(0, 6))
    return given[:at] + bytes([given[at] ^ 1 << bit]) + given[at + 1 :]


def test_a_shared_secret_signs_the_published_vector() -> None:
    assert sign([SHARED], MESSAGE_ID, TIMESTAMP, BODY) == SHARED_SIGNATURE


def test_a_private_key_signs_the_published_vector() -> None:
    assert sign([PRIVATE], MESSAGE_ID, TIMESTAMP, BODY) == PRIVATE_SIGNATURE
    assert public_key(PRIVATE) == PUBLIC


def test_during_a_rotation_there_is_a_signature_of_each_secret() -> None:
    signatures = sign([new_secret(), PRIVATE, SHARED], MESSAGE_ID, TIMESTAMP, BODY).split(" ")
    assert signatures[0].startswith("v1,")
    assert signatures[1:] == [PRIVATE_SIGNATURE, SHARED_SIGNATURE]


@settings(max_examples=300, deadline=None)
@given(keys, ids, st.integers(0, 2**33), bodies)
def test_the_oracle_signs_alike(key: bytes, message_id: str, timestamp: int, body: bytes) -> None:
    secret = "whsec_" + b64encode(key).decode()
    expected = Webhook(secret).sign(
        message_id, datetime.fromtimestamp(timestamp, UTC), body.decode()
    )
    assert sign([secret], message_id, timestamp, body) == expected


@settings(max_examples=300, deadline=None)
@given(keys, bodies, st.data())
def test_the_oracle_accepts_ours_and_refuses_any_flipped_bit(
    key: bytes, body: bytes, data: st.DataObject
) -> None:
    secret = "whsec_" + b64encode(key).decode()
    now = int(datetime.now(UTC).timestamp())
    signature = sign([secret], MESSAGE_ID, now, body)
    sent = {"webhook-id": MESSAGE_ID, "webhook-timestamp": str(now), "webhook-signature": signature}
    Webhook(secret).verify(body, sent)
    Webhook(secret).verify(body, sent | {"webhook-signature": f"v1,{new_secret()[6:]} {signature}"})

    raw = b64decode(signature.removeprefix("v1,"))
    for changed in (
        {"webhook-id": flip(MESSAGE_ID.encode(), data).decode()},
        {"webhook-timestamp": flip(str(now).encode(), data).decode()},
        {"webhook-signature": "v1," + b64encode(flip(raw, data)).decode()},
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, sent | changed)
    with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
        Webhook(secret).verify(flip(body, data), sent)


@settings(max_examples=200, deadline=None)
@given(bodies, st.data())
def test_an_asymmetric_signature_refuses_any_flipped_bit(body: bytes, data: st.DataObject) -> None:
    private, public = new_keypair()
    signature = sign([private], "evt_1", 7, body)
    message = b"evt_1.7." + body
    assert verifies(public, signature, message)
    assert not verifies(public, signature, flip(message, data))
    raw = b64decode(signature.removeprefix("v1a,"))
    assert not verifies(public, "v1a," + b64encode(flip(raw, data)).decode(), message)
    assert not verifies(new_keypair()[1], signature, message)


def test_new_secrets_have_the_length_the_scheme_asks_for() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert 24 <= len(b64decode(one.removeprefix("whsec_"), validate=True)) <= 64


def test_a_new_pair_belongs_together() -> None:
    private, public = new_keypair()
    assert public_key(private) == public
    assert len(b64decode(private.removeprefix("whsk_"))) == 64


@pytest.mark.parametrize("wrong", ["", "MfKQ9r8GKYqrTwjU", PUBLIC, "whsec_%%%", "whsk_AAAA"])
def test_what_is_not_a_secret_signs_nothing(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"secret|base64|digit|private|key"):
        sign([wrong], MESSAGE_ID, TIMESTAMP, BODY)


def test_only_a_private_key_has_a_public_one() -> None:
    with pytest.raises(ValueError, match="whsk_"):
        public_key(SHARED)
