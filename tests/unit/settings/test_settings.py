from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from deploy.local import roles
from models import settings
from models.errors import Misconfigured
from models.settings import Settings
from tests.conftest import make_settings

SECRETS = {
    "DATABASE_URL": "postgresql://darkroom:pass-of-postgres@127.0.0.1/darkroom",
    "REDIS_URL": "redis://:pass-of-redis@127.0.0.1:6379/0",
    "DARKROOM_SECRET": "first-secret-of-at-least-32-letters",
    "DARKROOM_SECRET_OLD": "older-secret-of-at-least-32-letters",
    "AIMLAPI_KEY": "key-of-the-provider",
    "AIMLAPI_KEYS_OLD": "old-key-one, old-key-two",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with everything that must be set, and nothing else of ours."""
    for name in settings.inherited():
        if name.startswith(("DARKROOM_", "AIMLAPI_")):
            monkeypatch.delenv(name)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal() -> str:
    with pytest.raises(Misconfigured) as refused:
        settings.load()
    return str(refused.value)


def test_what_is_missing_is_named_in_one_line(environment: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "DARKROOM_SECRET"):
        environment.delenv(name)
    assert refusal() == "DATABASE_URL: not set; REDIS_URL: not set; DARKROOM_SECRET: not set"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DARKROOM_PORT", "eight thousand"),
        ("DARKROOM_GRACE", "five minutes"),
        ("DARKROOM_GENERATE_SLOTS", "0"),
        ("DARKROOM_EGRESS_ALLOW", "10.0.0.0/8 not-a-network"),
        ("DARKROOM_EGRESS_PORTS", "443,https"),
        ("DARKROOM_PORT", "99999"),
        ("DARKROOM_METRICS_PORT", "-1"),
        ("DARKROOM_EGRESS_PORTS", "0"),
        ("DARKROOM_HEARTBEAT", "15s"),
        ("DARKROOM_HEARTBEAT", "0"),
        ("DARKROOM_IMAGE_RETENTION", "0"),
        ("DARKROOM_IMAGE_MAX_BYTES", "0"),
        ("DARKROOM_BODY_MAX_BYTES", "-1"),
        ("DARKROOM_WEBHOOK_SCHEDULE", "5,soon"),
        ("DARKROOM_STORAGE_URL", ""),
        ("DARKROOM_SECRET", "too-short"),
        ("DARKROOM_SECRET_OLD", "too-short"),
        ("DARKROOM_LOG_LEVEL", "chatty"),
        ("DARKROOM_PUBLIC_URL", "darkroom.example.com"),
        ("DARKROOM_PUBLIC_URL", "https://darkroom.example.com/?a=b"),
        ("DARKROOM_PUBLIC_URL", "https://darkroom.example.com:port"),
        ("DARKROOM_PUBLIC_URL", "https://me:word@darkroom.example.com"),
        ("DARKROOM_PUBLIC_URL", "https://dark room.example.com"),
        ("AIMLAPI_BASE_URL", "ftp://127.0.0.1"),
        ("AIMLAPI_KEY", "key-of-the-provider\n"),
        ("AIMLAPI_KEY", "key of the provider"),
        ("AIMLAPI_KEYS_OLD", "schlüssel"),
        ("REDIS_URL", "redis://127.0.0.1/0?mistyped=1"),
        ("REDIS_URL", "rediss://127.0.0.1/0?ssl_cert_reqs=perhaps"),
        ("REDIS_URL", "rediss://127.0.0.1/0?ssl_ca_certs=/nowhere/ca.pem"),
        ("DATABASE_URL", "postgresql://127.0.0.1:99999/darkroom"),
        ("DATABASE_URL", "postgresql://127.0.0.1/darkroom?sslmode=perhaps"),
        ("DATABASE_URL", "postgresql://a,b/darkroom?target_session_attrs=read-only"),
        ("DATABASE_URL", "mysql://darkroom:pass@127.0.0.1/darkroom"),
        ("DATABASE_URL", "postgresql://darkroom:pass%zz@127.0.0.1/darkroom"),
    ],
)
def test_what_is_wrong_is_named_in_one_line_and_a_secret_is_not_repeated(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    said = refusal()
    assert said.startswith(f"{name}: ")
    assert "\n" not in said
    assert name not in SECRETS or value not in said


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("DARKROOM_SECRET", "short", "has 5 characters and needs 32; make one with `openssl"),
        ("DARKROOM_EGRESS_ALLOW", "10.0.0.0/8,10.0.0.1/8", "'10.0.0.1/8' is an address in a network"),
        ("DARKROOM_BALANCERS", "10.0.0.0/8 fd00::1/8", "give fd00::/8, or fd00::1 alone"),
        ("DARKROOM_BALANCERS", "10.0.0.0/33", "'10.0.0.0/33' is no network"),
        ("DARKROOM_BALANCERS", "proxy.internal", "'proxy.internal' is no network; give one such as"),
        ("DARKROOM_EGRESS_PORTS", "443,https", "'https' is no port; give numbers from 1 to 65535"),
        ("AIMLAPI_BASE_URL", "ftp://x", "no http:// or https:// URL of a host"),
        ("AIMLAPI_BASE_URL", "ftp://x", "its scheme is ftp"),
        ("AIMLAPI_BASE_URL", "api.aimlapi.com", "it begins with neither"),
        ("AIMLAPI_BASE_URL", "https://me:word@host", "it has a login"),
        ("DARKROOM_PUBLIC_URL", "https://host/?a=b", "it has a query or a fragment"),
        ("DARKROOM_PUBLIC_URL", "https:///path", "it names no host"),
        ("DARKROOM_PUBLIC_URL", "https://host:0", "its port is 0"),
        ("DARKROOM_PUBLIC_URL", "https://host:70000", "its port is no number up to 65535"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector", "its scheme is grpc"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_what_to_do(
    environment: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    environment.setenv(name, value)
    said = refusal()
    assert why in said
    assert "word" not in said


def test_networks_may_be_single_addresses(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DARKROOM_BALANCERS", "203.0.113.9, 10.0.0.0/8, 2001:db8::9")
    found = settings.load().balancers
    assert found == tuple(map(ip_network, ("203.0.113.9", "10.0.0.0/8", "2001:db8::9")))


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("DARKROOM_HEARTBEAT", "100", "DARKROOM_LEASE_RUN"),
        ("DARKROOM_LEASE_RUN", "20", "DARKROOM_LEASE_RUN"),
        ("DARKROOM_WORKER_SEEN", "10", "DARKROOM_WORKER_SEEN"),
        ("DARKROOM_WEBHOOK_TIMEOUT", "60", "DARKROOM_DELIVERY_LEASE"),
        ("DARKROOM_BODY_MAX_BYTES", "300000000", "DARKROOM_BODIES_MAX_BYTES"),
    ],
)
def test_what_is_wrong_beside_another_setting_is_one_line_that_names_both(
    environment: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    environment.setenv(name, value)
    said = refusal()
    assert said.startswith(f"{named}: must be at least ")
    assert name in said
    assert "\n" not in said


@pytest.mark.parametrize("written", ["5, 300", "5 300", "[5, 300]"])
def test_the_tries_of_a_webhook_are_a_list_of_seconds(
    environment: pytest.MonkeyPatch, written: str
) -> None:
    environment.setenv("DARKROOM_WEBHOOK_SCHEDULE", written)
    assert settings.load().webhook_schedule == (timedelta(seconds=5), timedelta(seconds=300))


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_every_secret_may_lie_in_a_file(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str, end: str
) -> None:
    before = settings.load()
    (tmp_path / "secret").write_bytes((SECRETS[name] + end).encode())
    environment.delenv(name)
    environment.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert settings.load() == before


def test_a_secret_whose_file_is_missing_or_that_is_set_twice_is_one_line(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRETS["REDIS_URL"])
    environment.setenv("REDIS_URL_FILE", str(tmp_path / "secret"))
    assert refusal() == "REDIS_URL and REDIS_URL_FILE are both set: set one of them"
    environment.delenv("REDIS_URL")
    environment.setenv("REDIS_URL_FILE", str(tmp_path / "no"))
    assert refusal() == (
        f"REDIS_URL_FILE: {str(tmp_path / 'no')!r} cannot be read (No such file or directory)"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "DARKROOM_GENERATE_SLOT",
            "there is no such setting; did you mean DARKROOM_GENERATE_SLOTS?",
        ),
        ("DARKROOM_REDIS_URL", "there is no such setting; did you mean REDIS_URL?"),
        ("DARKROOM_HELLO_WORLD", "there is no such setting; take it away"),
        (
            "darkroom_generate_slot",
            "there is no such setting; did you mean DARKROOM_GENERATE_SLOTS?",
        ),
        ("darkroom_port", "names are in capitals: DARKROOM_PORT"),
        ("Darkroom_Port", "names are in capitals: DARKROOM_PORT"),
        ("darkroom_secret_file", "names are in capitals: DARKROOM_SECRET_FILE"),
        ("aimlapi_base_url", "names are in capitals: AIMLAPI_BASE_URL"),
        ("database_url", "names are in capitals: DATABASE_URL"),
        ("DARKROOM_PORT_FILE", "only secrets are read from files; set DARKROOM_PORT"),
        ("DARKROOM_DATA", "only the local stack (`make up`) reads it; take it away"),
        ("DARKROOM_API_KEY", "only the local stack (`make up`) reads it; take it away"),
        ("DARKROOM_API_KEY_FILE", "only the local stack (`make up`) reads it; take it away"),
    ],
)
def test_a_name_that_would_do_nothing_is_refused_with_the_one_that_was_meant(
    environment: pytest.MonkeyPatch, name: str, said: str
) -> None:
    environment.setenv(name, "8")
    assert refusal() == f"{name}: {said}"
    with pytest.raises(Misconfigured, match=name):
        settings.database_url()


def test_the_local_stack_reads_its_own_names_and_keeps_them_from_its_roles(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("dk_of_a_file\n")
    environment.setenv("DARKROOM_DATA", str(tmp_path))
    environment.setenv("DARKROOM_API_KEY_FILE", str(tmp_path / "key"))
    loaded = settings.load_local()
    assert loaded.data == tmp_path
    assert loaded.api_key is not None
    assert loaded.api_key.get_secret_value() == "dk_of_a_file"
    given = roles.place(loaded, tmp_path, None, None).environment
    for name in settings.inherited():
        environment.delenv(name)
    for name, value in given.items():
        environment.setenv(name, value)
    settings.load()


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_mistake_until_it_hides_a_setting(
    environment: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "DARKROOM_API_SERVICE_HOST": "10.0.0.7",
        "DARKROOM_API_SERVICE_PORT_HTTP": "80",
        "DARKROOM_API_PORT": "tcp://10.0.0.7:80",
        "DARKROOM_API_PORT_80_TCP_ADDR": "10.0.0.7",
    }.items():
        environment.setenv(name, value)
    settings.load()
    environment.setenv("DARKROOM_PORT", "tcp://10.0.0.7:80")
    assert refusal() == (
        "DARKROOM_PORT: Kubernetes set it for a Service of this name: set enableServiceLinks to false"
    )


@pytest.mark.usefixtures("environment")
def test_no_secret_is_ever_shown() -> None:
    loaded = settings.load()
    shown = f"{loaded!r} {loaded} {loaded.model_dump()!r}"
    for secret in ("pass-of-postgres", "pass-of-redis", "first-secret", "older-secret", "key-of"):
        assert secret not in shown
    assert "old-key" not in f"{loaded!r} {loaded}"


@pytest.mark.usefixtures("environment")
def test_secrets_are_read_by_who_asks_for_them() -> None:
    loaded = settings.load()
    assert loaded.database_url.get_secret_value() == SECRETS["DATABASE_URL"]
    assert settings.database_url() == SECRETS["DATABASE_URL"]
    assert loaded.aimlapi_keys_old == ("old-key-one", "old-key-two")


@pytest.mark.parametrize(
    ("written", "seconds"), [("330", 330), ("0.25", 0.25), ("86400", 86_400), (" 15 ", 15)]
)
def test_durations_are_seconds(
    environment: pytest.MonkeyPatch, written: str, seconds: float
) -> None:
    environment.setenv("DARKROOM_GRACE", written)
    assert settings.load().grace == timedelta(seconds=seconds)


@pytest.mark.parametrize("written", ["nan", "", "5m", "inf", "1e300", "-1"])
def test_what_is_no_duration_is_refused_in_one_line(
    environment: pytest.MonkeyPatch, written: str
) -> None:
    environment.setenv("DARKROOM_GRACE", written)
    said = refusal()
    assert said.startswith("DARKROOM_GRACE: ")
    assert "\n" not in said


def test_lists_are_separated_by_commas_or_blanks(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DARKROOM_EGRESS_ALLOW", "10.0.0.0/8, ::1/128")
    environment.setenv("DARKROOM_EGRESS_PORTS", "443 8443")
    loaded = settings.load()
    assert loaded.egress_allow == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert loaded.egress_ports == {443, 8443}


@pytest.mark.usefixtures("environment")
def test_an_empty_environment_opens_no_address() -> None:
    loaded = settings.load()
    assert loaded.egress_allow == ()
    assert loaded.egress_ports == {443}


def test_settings_do_not_change() -> None:
    loaded = make_settings()
    with pytest.raises(ValidationError, match="frozen"):
        loaded.port = 1  # type: ignore[misc] # that is the point


def test_ten_tries_of_a_webhook_take_over_three_days() -> None:
    schedule = make_settings().webhook_schedule
    assert len(schedule) + 1 == 10
    assert timedelta(hours=75) < sum(schedule, timedelta()) < timedelta(hours=77)


def test_the_grace_covers_the_longest_call_and_a_lease_outlives_two_heartbeats() -> None:
    loaded = make_settings()
    assert loaded.grace >= loaded.attempt_timeout_large
    assert loaded.lease_run > 2 * loaded.heartbeat
    assert loaded.worker_seen > loaded.heartbeat


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("images", Path("images")),
        ("/var/lib/images", Path("/var/lib/images")),
        ("file:///var/lib/images", Path("/var/lib/images")),
        ("s3://bucket/images", None),
    ],
)
def test_a_storage_url_without_a_scheme_is_a_folder(url: str, folder: Path | None) -> None:
    assert settings.path_of(url) == folder


def test_every_variable_has_one_of_our_prefixes() -> None:
    named = {str(field.validation_alias) for field in Settings.model_fields.values()} - {"None"}
    theirs = {name for name in named if name.startswith("OTEL_")}  # OpenTelemetry has named them
    assert named - theirs == {
        "DATABASE_URL", "REDIS_URL", "AIMLAPI_KEY", "AIMLAPI_KEYS_OLD", "AIMLAPI_BASE_URL",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("role", "values", "said"),
    [
        ("worker", {}, []),
        ("api", {}, []),
        ("worker", {"drain": 400}, []),
        ("worker", {"grace": 300}, []),
        ("worker", {"grace": 299}, ["DARKROOM_ATTEMPT_TIMEOUT_LARGE (300 s)"]),
        (
            "worker",
            {"grace": 0.5},
            ["DARKROOM_ATTEMPT_TIMEOUT (180 s)", "DARKROOM_ATTEMPT_TIMEOUT_LARGE (300 s)"],
        ),
        ("api", {"grace": 5}, []),
        ("api", {"grace": 4}, ["DARKROOM_DRAIN (5 s)"]),
    ],
)
def test_a_grace_that_is_too_short_for_what_is_to_be_finished_is_doubted(
    role: Literal["api", "worker"], values: dict[str, float], said: list[str]
) -> None:
    doubt = settings.doubt(
        make_settings(**{name: str(each) for name, each in values.items()}), role
    )
    assert (doubt is not None) == bool(said)
    assert all(each in (doubt or "") for each in said)
    assert (doubt or "").count("DARKROOM_") == (len(said) + 1 if said else 0)
