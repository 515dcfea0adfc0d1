import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import ids
from models.jobs import view
from models.jobs.view import Presenter
from models.platform import jsonable
from models.platform.jsonable import Json
from models.platform.vault import Vault
from models.schema import Attempt, Image, Job
from models.webhooks import bodies

NOW = datetime(2026, 6, 1, 12, 30, 15, 123_456, tzinfo=UTC)
PRESENTER = Presenter("https://darkroom.example/", Vault("a-secret-of-at-least-thirty-two-letters"))
PRICE, BODY_MAX = 91_000, 20_000
WIDE = "\U0001f98a"  # four bytes in UTF-8
SPECIAL = "\x01"  # one byte, and six in JSON


def job(**changes: object) -> Job:
    """Make a job's row as the database would give it."""
    values: dict[str, object] = {
        "id": UUID(int=7), "project_id": UUID(int=1), "key_id": UUID(int=2), "created_at": NOW,
        "status": "succeeded", "phase": "keep", "version": 5, "fence": 1, "attempt": 1,
        "started_at": NOW, "finished_at": NOW, "queue_expires_at": NOW + timedelta(days=1),
        "deadline": None, "run_after": NOW, "waiting_reason": None, "model": "m",
        "input": {"model": "m", "prompt": "a red fox"}, "priority": "standard", "tags": [],
        "meta": {}, "customer": None, "estimate": PRICE, "held": 0, "charged": PRICE,
        "error": None, "cancel_requested_at": None, "cancel_outcome": None, "retried_from": None,
        "reused_from": None,
    }  # fmt: skip
    return Job(**(values | changes))


def attempt(number: int = 1, **changes: object) -> Attempt:
    values: dict[str, object] = {
        "number": number, "outcome": "image", "charge": "settled", "credits": PRICE, "hold": PRICE,
        "http_status": 200, "inference_id": "inf-1", "client_request_id": f"job_x:{number}",
        "sent_at": NOW, "finished_at": NOW, "error": None, "adjusted": 0,
    }  # fmt: skip
    return Attempt(**(values | changes))


def image(**changes: object) -> Image:
    values: dict[str, object] = {
        "job_id": UUID(int=7), "attempt": 1, "late": False, "sha256": "ab" * 32, "bytes": 9,
        "width": 2048, "height": 2048, "content_type": "image/jpeg", "kept_at": NOW,
        "provider_url": "https://cdn.example/1.jpg", "expires_at": NOW + timedelta(days=30),
    }  # fmt: skip
    return Image(**(values | changes))


def show(row: Job, *attempts: Attempt, images: tuple[Image, ...] = (), now: datetime = NOW) -> Json:
    return view.job(PRESENTER, row, attempts, images, now)


def webhook(row: Job, *attempts: Attempt, images: tuple[Image, ...] = ()) -> bytes:
    return bodies.of_job("job.succeeded", show(row, *attempts, images=images), NOW)


def data(body: bytes) -> dict[str, object]:
    read: dict[str, object] = json.loads(body)["data"]
    return read


# The job.


def test_times_are_utc_with_milliseconds() -> None:
    assert jsonable.time(NOW) == "2026-06-01T12:30:15.123Z"
    assert jsonable.time(None) is None


@pytest.mark.parametrize("status", ["released", "queued"])
def test_a_dispatched_job_looks_queued_from_outside(status: str) -> None:
    shown = show(job(status=status, finished_at=None, attempt=0))
    assert (shown["status"], shown["waiting_reason"], shown["result"]) == ("queued", "queue", None)


@pytest.mark.parametrize(
    ("changes", "gate", "reason"),
    [
        ({"status": "queued"}, None, "queue"),
        ({"status": "queued"}, "wallet_empty", "wallet_empty"),
        ({"status": "released"}, "wallet_empty", "wallet_empty"),
        ({"status": "queued", "run_after": NOW + timedelta(seconds=1)}, None, "backoff"),
        (
            {"status": "queued", "run_after": NOW + timedelta(seconds=1), "waiting_reason": "storage"},
            "wallet_empty",
            "storage",
        ),
        (
            {"status": "queued", "run_after": None, "waiting_reason": "unknown_charge"},
            "wallet_empty",
            "unknown_charge",
        ),
        ({"status": "running"}, "wallet_empty", None),
        ({"status": "succeeded"}, "wallet_empty", None),
    ],
)  # fmt: skip
def test_a_job_that_waits_says_why(
    changes: dict[str, object], gate: str | None, reason: str | None
) -> None:
    assert view.waiting_reason(job(**changes), NOW, gate) == reason


def test_what_is_unknown_is_what_lost_calls_hold_and_not_the_one_under_way() -> None:
    lost = attempt(1, charge="unknown", credits=None, outcome="unknown")
    going = attempt(2, charge="unknown", credits=None, outcome=None, finished_at=None)
    shown = show(job(status="running", held=2 * PRICE, charged=0), lost, going)
    assert shown["cost"] == {
        "estimated": PRICE, "charged": 0, "adjusted": 0, "unknown": PRICE, "held": 2 * PRICE,
        "unknown_until": jsonable.time(NOW + PRESENTER.unknown_for), "unit": "credits",
        "usd": {
            "estimated": "0.0455", "charged": "0.00", "adjusted": "0.00", "unknown": "0.0455",
            "held": "0.091",
        },
    }  # fmt: skip
    assert shown["charged"] == "unknown"
    assert show(job(status="running", charged=0), going)["charged"] == "no", "not lost yet"


def test_what_was_corrected_later_is_shown_beside_what_was_charged() -> None:
    made = [attempt(1, credits=0, adjusted=-PRICE), attempt(2, adjusted=5)]
    shown = show(job(charged=PRICE), *made)
    assert shown["cost"] == {
        "estimated": PRICE, "charged": PRICE, "adjusted": 5 - PRICE, "unknown": 0, "held": 0,
        "unknown_until": None, "unit": "credits",
        "usd": {
            "estimated": "0.0455", "charged": "0.0455", "adjusted": "-0.0454975", "unknown": "0.00",
            "held": "0.00",
        },
    }  # fmt: skip
    charges = [each["charge"] for each in cast("list[Json]", shown["attempts"])]
    assert charges[0] == {"state": "settled", "credits": 0, "adjusted": -PRICE}


@pytest.mark.parametrize(
    ("deadline", "waited", "said"),
    [
        (None, 60, "queue_ttl"),
        (100, 60, "queue_ttl"),
        (59, 30, "deadline"),  # a call could not have ended by it
        (59, 3600, "deadline"),  # both had passed, this one first
        (61, 3600, "queue_ttl"),
    ],
)
def test_an_expired_job_says_which_of_its_times_had_come(
    deadline: int | None, waited: int, said: str
) -> None:
    shown = show(
        job(
            status="expired",
            queue_expires_at=NOW + timedelta(seconds=60),
            deadline=None if deadline is None else NOW + timedelta(seconds=deadline),
            finished_at=NOW + timedelta(seconds=waited),
        )
    )
    assert (shown["expired_by"], shown["error"]) == (said, None)
    assert show(job(queue_expires_at=NOW))["expired_by"] is None, "it is no expired job"


def test_a_result_keeps_the_providers_shape() -> None:
    result = show(job(), attempt(), images=(image(),))["result"]
    assert isinstance(result, dict)
    (first,) = result["data"]
    assert (first["size"], first["width"], first["sha256"]) == ("2048x2048", 2048, "ab" * 32)
    assert result["meta"] == {"usage": {"credits_used": PRICE}}


def test_a_late_image_is_not_a_result() -> None:
    assert show(job(status="failed"), images=(image(late=True),))["result"] is None


def test_the_same_job_is_the_same_bytes_all_day_and_its_urls_live_a_week() -> None:
    early, late = (NOW.replace(hour=hour, minute=0) for hour in (0, 23))
    first, second = (show(job(), attempt(), images=(image(),), now=now) for now in (early, late))
    assert json.dumps(first) == json.dumps(second)
    end = int(PRESENTER.image_url(job(), image(), late).split("exp=")[1].split("&")[0])
    assert timedelta(days=7) <= datetime.fromtimestamp(end, UTC) - late <= timedelta(days=8)


def test_no_url_outlives_its_image() -> None:
    soon = NOW + timedelta(hours=3)
    url = PRESENTER.image_url(job(), image(expires_at=soon), NOW)
    assert f"exp={int(soon.timestamp())}&" in url
    assert url.startswith("https://darkroom.example/v1/jobs/job_")


@pytest.mark.parametrize("kept", [timedelta(days=30), timedelta(hours=3, microseconds=7)])
def test_an_image_says_when_its_urls_end_beside_when_it_does(kept: timedelta) -> None:
    shown = show(job(), attempt(), images=(image(expires_at=NOW + kept),))["result"]
    assert isinstance(shown, dict)
    told = shown["data"][0]
    for name in ("url", "thumbnail_url"):
        end = int(told[name].split("exp=")[1].split("&")[0])
        assert told["url_expires_at"] == jsonable.time(datetime.fromtimestamp(end, UTC))
    assert told["expires_at"] == jsonable.time(NOW + kept)


# The ETag.


def test_an_etag_changes_with_the_version_and_with_why_a_job_waits() -> None:
    tags = [
        view.etag(job(status="queued", version=version), NOW, reason)
        for version in (1, 2)
        for reason in ("queue", "backoff", None)
    ]
    assert len(set(tags)) == 6
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


@pytest.mark.parametrize(
    ("status", "changes"), [("succeeded", True), ("canceled", True), ("failed", False)]
)
def test_an_etag_changes_by_the_day_where_signed_urls_are_shown(
    status: str,
    changes: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    days = [view.etag(job(status=status), NOW + timedelta(days=n), None) for n in (0, 1)]
    assert (days[0] != days[1]) == changes
    assert days[0] == view.etag(job(status=status), NOW + timedelta(hours=1), None)


# The webhook's body.


def test_a_body_is_the_job_as_get_shows_it_and_its_sequence_is_its_version() -> None:
    body = webhook(job(version=9), attempt(), images=(image(),))
    read = json.loads(body)
    assert (read["type"], read["timestamp"]) == ("job.succeeded", jsonable.time(NOW))
    assert read["data"]["sequence"] == 9
    assert read["data"] == json.loads(
        json.dumps(show(job(version=9), attempt(), images=(image(),)))
    )
    assert body == webhook(job(version=9), attempt(), images=(image(),))


@pytest.mark.parametrize("letter", ["a", "é", WIDE, '"', SPECIAL])
def test_the_largest_job_that_is_accepted_fits(letter: str) -> None:
    body = webhook(largest(letter), *map(attempt, range(1, 11)), images=(image(),))

    assert len(body) <= BODY_MAX
    shown = data(body)
    assert shown["input_truncated"] is True
    assert isinstance(shown["input"], dict)
    prompt = shown["input"]["prompt"]
    assert 1_500 < len(json.dumps(prompt, ensure_ascii=False).encode()) <= 2_002
    assert largest(letter).input["prompt"].startswith(prompt)  # type: ignore[attr-defined] # a string
    assert isinstance(shown["result"], dict)
    assert (shown["id"], shown["status"], shown["sequence"]) == (
        ids.text(ids.JOB, UUID(int=7)),
        "succeeded",
        5,
    )


def largest(letter: str, **changes: object) -> Job:
    """Make a job of the largest input, metadata and tags that the API accepts."""
    prompt = letter * (32 * 1024 // len(letter.encode()))
    urls = ["https://" + "x" * 40 + ".example/" + "y" * 8_000] * 14
    return job(
        input={"model": "m", "prompt": prompt, "image_urls": urls},
        meta={f"{n:02}" + letter * 62: letter * 512 for n in range(16)},
        tags=[f"{n}" + letter * 127 for n in range(10)],
        customer="c" * 64,
        **changes,
    )


def test_the_worst_error_of_the_largest_job_fits_too() -> None:
    """The provider's field errors come in dozens, each as long as it likes."""
    details = [{"path": SPECIAL * 200, "message": SPECIAL * 500} for _ in range(50)]
    error: Json = {
        "code": "invalid_input", "message": SPECIAL * 500, "retryable": False, "charged": "no",
        "details": details,
    }  # fmt: skip
    said = {"code": "invalid_input", "message": SPECIAL * 500}
    tries = [attempt(n, error=said) for n in range(1, 11)]

    body = webhook(largest(SPECIAL, status="failed", error=error), *tries)

    assert len(body) <= BODY_MAX
    shown = data(body)
    assert isinstance(shown["error"], dict)
    assert (shown["error"]["code"], shown["error"]["charged"]) == ("invalid_input", "yes")


def test_what_fits_is_not_cut() -> None:
    row = job(input={"model": "m", "prompt": "p" * 2_000}, meta={"k": WIDE * 512})
    shown = data(webhook(row, attempt()))
    assert "input_truncated" not in shown
    assert shown["input"] == row.input
    assert shown["metadata"] == row.meta


def test_a_long_prompt_is_cut_though_all_would_fit() -> None:
    shown = data(webhook(job(input={"model": "m", "prompt": "p" * 2_001}), attempt()))
    assert shown["input_truncated"] is True
    assert shown["input"] == {"model": "m", "prompt": "p" * 2_000}


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=9_000),
    st.lists(st.text(max_size=3_000), max_size=14),
    st.dictionaries(st.text(max_size=64), st.text(max_size=512), max_size=16),
)
def test_any_body_is_json_of_at_most_20_kb(
    prompt: str, urls: list[str], metadata: dict[str, str]
) -> None:
    shown = {"model": "m", "prompt": prompt, "image_urls": urls}
    body = webhook(job(input=shown, meta=metadata), attempt())
    assert len(body) <= BODY_MAX
    assert data(body)["id"]


def test_a_providers_url_that_is_longer_than_a_body_may_be_is_left_out() -> None:
    far = image(provider_url="https://cdn.example/" + WIDE * 16_000)
    body = webhook(job(), attempt(), images=(far,))
    assert len(body) <= BODY_MAX
    shown = data(body)
    assert shown["input_truncated"] is True
    assert isinstance(shown["result"], dict)
    (left,) = shown["result"]["data"]
    assert (left["provider_url"], left["sha256"]) == (None, far.sha256)
    assert left["url"].startswith("http")


def test_no_bytes_of_an_image_are_in_a_webhook() -> None:
    inline = view.job(PRESENTER, job(), [attempt()], [image()], NOW, inline=b"\xff\xd8")
    assert "b64_json" in json.dumps(inline)
    assert b"b64_json" not in webhook(job(), attempt(), images=(image(),))


def test_a_url_is_signed_with_the_path_it_opens() -> None:
    plain, thumbnail = (
        PRESENTER.image_url(job(), image(), NOW, suffix) for suffix in ("", "/thumbnail")
    )
    assert plain.split("sig=")[1] != thumbnail.split("sig=")[1]
    other = replace(PRESENTER, vault=Vault("another-secret-of-at-least-32-letters"))
    assert other.image_url(job(), image(), NOW) != plain
