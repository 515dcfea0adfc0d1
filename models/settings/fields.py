"""The settings of every role. Every number here is a default with its reason beside it.

Durations are `timedelta`, given in seconds (`DARKROOM_GRACE=330`). docs/settings.md tells of each.
"""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.settings.values import (
    Duration,
    FormerSecret,
    Key,
    Keys,
    Level,
    Networks,
    Port,
    Ports,
    PostgresUrl,
    Receiver,
    RedisAddress,
    Sampler,
    Schedule,
    Secret,
    Span,
    WebUrl,
)

# Where balancers, ingresses and sidecars are: loopback, RFC 1918, RFC 6598, RFC 4193.
_PRIVATE = tuple(
    ip_network(each)
    for each in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
                 "::1/128", "fc00::/7")
)  # fmt: skip


class Settings(BaseSettings):
    """What a process of any role needs to know; see `load`."""

    model_config = SettingsConfigDict(
        env_prefix="DARKROOM_", frozen=True, extra="ignore", populate_by_name=True
    )

    # Where things are.
    database_url: PostgresUrl = Field(validation_alias="DATABASE_URL")
    redis_url: RedisAddress = Field(validation_alias="REDIS_URL")
    storage_url: str = Field(default=".darkroom/images", min_length=1)
    public_url: WebUrl = "http://127.0.0.1:8000"

    # Secrets. `secret` encrypts webhook secrets and signs image URLs; `secret_old` only reads.
    secret: Secret
    secret_old: FormerSecret | None = None

    # The provider.
    aimlapi_key: Key | None = Field(default=None, validation_alias="AIMLAPI_KEY")
    aimlapi_keys_old: Keys = Field(default=(), validation_alias="AIMLAPI_KEYS_OLD", repr=False)
    aimlapi_base_url: WebUrl = Field(
        default="https://api.aimlapi.com", validation_alias="AIMLAPI_BASE_URL"
    )
    connect_timeout: Span = timedelta(seconds=10)
    attempt_timeout: Span = timedelta(seconds=180)  # p95 is 51-70 s for 2K at other hosts
    attempt_timeout_large: Span = timedelta(seconds=300)  # 4K, or more than 4 references
    # Calls in flight over all workers: the provider publishes no limit, so it is found between these.
    provider_limit_floor: int = Field(default=4, ge=1)
    provider_limit: int = Field(default=256, ge=1)
    limit_window: Span = timedelta(seconds=5)  # doubles once per window until the first 429
    limit_probe: Span = timedelta(seconds=30)  # afterwards: one more, this long after a 429
    breaker_errors: int = Field(default=10, ge=1)  # 5xx in a row: 30 % of them never open it
    breaker_lost: int = Field(default=5, ge=1)  # answers lost in a row: each may have been paid
    # How long a synchronous call is held at most: below the 300 s at which many proxies give up.
    sync_wait: Span = timedelta(seconds=290)
    typical_call: Duration = timedelta(seconds=45)  # p50 is 37-47 s: a later deadline can be met
    log_lag: Duration = timedelta(minutes=15)  # how far the provider's log may be behind
    wallet_low: int = Field(default=10_000_000, ge=0)  # credits ($5): some hundred images are left
    operator_project: str | None = None  # the one project whose endpoints hear of the wallet

    gate_probe: Span = timedelta(seconds=15)  # how often a closed gate is looked at

    # Addresses that users and the provider choose; the default refuses all that is not public.
    # A network in `egress_allow` is exempt from every rule: any port, plain http too.
    egress_allow: Networks = ()
    egress_ports: Ports = frozenset({443})

    # The processes.
    host: str = "127.0.0.1"
    port: Port = 8000
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9090
    # How the api is reached. Balancers keep connections for 60 s, and must be the ones that close them.
    keep_alive: Duration = timedelta(seconds=75)
    head_timeout: Span = timedelta(seconds=10)  # for all headers, and for a body nobody reads
    drain: Duration = timedelta(seconds=5)  # it goes on taking requests after SIGTERM
    connections_max: int = Field(default=4_096, ge=1)  # per api process: 2,000 may wait at once
    connections_per_address: int = Field(default=1_024, ge=1)
    # Addresses from which everybody may come: the bound of one address is not for them.
    balancers: Networks = _PRIVATE
    grace: Duration = timedelta(seconds=330)  # the longest attempt and the keeping of its image
    generate_slots: int = Field(default=64, ge=1)  # paid calls one worker may have in flight
    # Webhooks one worker may have in flight. A place costs the webhook's 20 kB, and no thread.
    deliver_slots: int = Field(default=256, ge=1)
    database_pool: int = Field(default=10, ge=1)  # connections per process, of each of two pools
    read_timeout: Span = timedelta(seconds=8)  # one statement of a list, report or export
    # Off where a statement may come to another server process than the one before: pgbouncer before 1.21,
    # in transaction mode.
    database_prepare: bool = True
    log_level: Level = "INFO"

    # Traces, by the names that OpenTelemetry gives; off without a receiver.
    otel_exporter_otlp_endpoint: Receiver = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    otel_exporter_otlp_headers: SecretStr | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_HEADERS"
    )
    # The one that is spoken: gRPC would bring a second HTTP stack into each role.
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        default="http/protobuf", validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    otel_traces_sampler: Sampler = Field(
        default="parentbased_always_on", validation_alias="OTEL_TRACES_SAMPLER"
    )
    otel_traces_sampler_arg: float = Field(
        default=1.0, ge=0, le=1, validation_alias="OTEL_TRACES_SAMPLER_ARG"
    )

    # References that a call carries as `data:`, together: beyond it the provider fetches them from us.
    inline_max_bytes: int = Field(default=20 * 1024 * 1024, ge=0)

    # Leases: a worker that dies is noticed after one, so they are short, and renewed.
    lease_release: Span = timedelta(seconds=30)
    lease_run: Span = timedelta(seconds=60)
    heartbeat: Span = timedelta(seconds=15)
    worker_seen: Span = timedelta(seconds=20)  # an older report of free slots is not believed
    # A worker whose consumer or heartbeat gets nothing through for so long, though Redis and Postgres
    # answer, is not healthy. Beyond the 30 s that Celery lets pass between two tries to connect.
    deaf_after: Span = timedelta(seconds=45)
    tick: Span = timedelta(seconds=1)  # what a lost doorbell costs at most

    # Retries of paid calls, and of keeping a paid image.
    retry_base: Duration = timedelta(seconds=1)
    retry_cap: Duration = timedelta(seconds=60)
    keep_ttl: Span = timedelta(hours=24)  # the provider's URL lives as long
    # How long a URL that answers 404 or 410 may yet come to be: some nine tries. Stores of the
    # provider's kind show what was written within seconds.
    image_missing: Duration = timedelta(minutes=2)
    # The same of one that answers 403, or something that is no whole picture: ten tries. Caches and clocks
    # of such hosts are minutes behind at most; a file that was stored in half stays so.
    image_refused: Duration = timedelta(minutes=5)
    image_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1)

    # How long data is kept.
    job_retention: Span = timedelta(days=90)
    image_retention: Span = timedelta(days=30)
    delivery_retention: Span = timedelta(days=30)
    file_retention: Span = timedelta(days=30)  # after its last use

    # Webhooks.
    webhook_timeout: Span = timedelta(seconds=15)
    webhook_read_max_bytes: int = Field(default=64 * 1024, ge=0)
    delivery_lease: Span = timedelta(seconds=30)
    # Ten tries over about 76 h, each delay +-20 %.
    webhook_schedule: Schedule = tuple(
        timedelta(seconds=s) for s in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    )

    # Of one destination: how many tries are out, so that a hanging one takes no more slots; and how many
    # begin in a second, if it has no rate of its own.
    webhook_in_flight: int = Field(default=8, ge=1)
    webhook_rate: int = Field(default=100, ge=1)
    # An endpoint is disabled after so long without a success, or after less of it over many deliveries.
    webhook_failing: Duration = timedelta(days=5)
    webhook_failing_busy: Duration = timedelta(hours=24)
    webhook_failing_deliveries: int = Field(default=100, ge=1)

    # Bounds of what is accepted.
    queued_max: int = Field(default=100_000, ge=1)  # jobs of one project that may wait
    # Webhooks of one project that may wait: ten jobs a second to a receiver that is dead for a day.
    deliveries_max: int = Field(default=1_000_000, ge=1)
    # Files of one project, and their bytes: some thousand photographs from a telephone.
    files_max: int = Field(default=10_000, ge=1)
    files_max_bytes: int = Field(default=10 * 1024**3, ge=1)
    # Of a project, as at Stripe: each hears of every job.
    endpoints_max: int = Field(default=16, ge=1)
    keys_max: int = Field(default=1_000, ge=1)  # good ones of a project; ten times as many made
    budgets_max: int = Field(default=1_000, ge=1)  # of a project: each booking looks through them
    # Of a project: batches that are not over (each is looked at every second), actions under way (they go
    # one after the other), and erasures under way (each waits for its bytes).
    batches_max: int = Field(default=1_000, ge=1)
    actions_max: int = Field(default=10, ge=1)
    erasures_max: int = Field(default=1_000, ge=1)
    # Pings cost nothing and may hang: of one project this many are under way, and begin in a minute.
    pings_at_once: int = Field(default=5, ge=1)
    pings_per_minute: int = Field(default=30, ge=1)
    # Per key and api process; a project twice that.
    requests_per_minute: int = Field(default=30_000, ge=1)
    body_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    # All bodies over 64 KiB in hand at once, half of it for one project; what is made of one takes about
    # five times as much.
    bodies_max_bytes: int = Field(default=128 * 1024 * 1024, ge=1)
    # A body must come at this many bytes a second, after so long: a bad mobile network does better.
    body_rate: int = Field(default=64 * 1024, ge=1)
    body_grace: Duration = timedelta(seconds=10)

    @property
    def unknown_for(self) -> timedelta:
        """Return for how long a lost call's charge may stay unknown, while the provider answers.

        The longest that a call may take, and four times the log's lag
        (`worker/dispatcher/account/absence.py`).
        """
        return max(self.attempt_timeout, self.attempt_timeout_large) + 4 * self.log_lag


def path_of(storage_url: str) -> Path | None:
    """Return the folder that a storage URL without a scheme names, or None for a bucket."""
    if storage_url.startswith("file://"):
        return Path(storage_url.removeprefix("file://"))
    return None if "://" in storage_url else Path(storage_url)
