"""For each alert the series on which it fires, and those on which it does not."""

from collections.abc import Sequence

Series = dict[str, str]  # as promtool writes them: `value+growth x times`, a minute apart
_MINUTES = 75


def still(series: str, value: float) -> Series:
    """Write a gauge that stays as it is."""
    return {series: f"{value}+0x{_MINUTES}"}


def grows(series: str, by: float) -> Series:
    """Write a counter."""
    return {series: f"0+{by}x{_MINUTES}"}


def gauge(series: str, bad: float, good: float) -> tuple[Series, Series]:
    """Write a gauge that alone decides."""
    return still(series, bad), still(series, good)


def counter(series: str) -> tuple[Series, Series]:
    """Write a counter that must not move."""
    return grows(series, 1), still(series, 3)


_REDIS = 'darkroom_redis_connected{instance="w1"}'
_SILENT = 'darkroom_worker_silence_seconds{instance="w1",of="redis"}'
_DEAF = 'darkroom_worker_silence_seconds{instance="w1",of="postgres"}'
_HEARS = 'darkroom_worker_silence_seconds{instance="w2",of="postgres"}'
_OK = 'darkroom_http_requests_total{route="/v1/jobs",status="202"}'
_FAILED = 'darkroom_http_requests_total{route="/v1/jobs",status="500"}'
_UNREADY = 'darkroom_http_requests_total{route="/readyz",status="503"}'
_WAITS = still('darkroom_jobs_oldest_runnable_seconds{priority="interactive"}', 400)
_BULK = still('darkroom_jobs_oldest_runnable_seconds{priority="bulk"}', 9_000)
_GATE = 'darkroom_gate_closed{reason="wallet_empty"}'
_PAUSED = still('darkroom_gate_closed{reason="paused"}', 1)
_UNKNOWN = "darkroom_charges_unknown_oldest_seconds"
_EXPECTED = still("darkroom_charges_unknown_expected_seconds", 3_900)
_WANTED = 'darkroom_slots_wanted{kind="generate"}'
_FAILING = 'darkroom_endpoints{state="failing"}'
_ROLES = ("api", "dispatcher", "worker")
_HERE, _NEVER = f"1+0x{_MINUTES}", "_"
_WENT, _CAME_BACK = f"1+0x40 _x{_MINUTES - 40}", f"1+0x40 _x9 1+0x{_MINUTES - 50}"
Missing = tuple[str | None, str]  # the namespace, where there are any, and the role


def _installed(namespace: str | None, **roles: str) -> Series:
    """Write an installation, of whose roles some are not there all the time."""
    within = "" if namespace is None else f'namespace="{namespace}",'
    return {
        f'darkroom_build_info{{{within}role="{role}"}}': roles.get(role, _HERE) for role in _ROLES
    }


CASES: dict[str, tuple[Series, Series]] = {
    "DarkroomBooksDiffer": gauge("darkroom_audit_differences", 1, 0),
    "DarkroomAnswerNotBooked": counter("darkroom_answers_not_booked_total"),
    "DarkroomChargesOfNobody": gauge("darkroom_provider_unmatched_charges", 2, 0),
    "DarkroomWalletRunsOut": gauge("darkroom_wallet_seconds_left", 3_600, 86_400),
    "DarkroomChargeUnknownForLong": (
        still(_UNKNOWN, 4_000) | _EXPECTED,
        still(_UNKNOWN, 9) | _EXPECTED,
    ),
    "DarkroomChargeLeftToYou": gauge('darkroom_charges_left_to_operator{because="too_old"}', 1, 0),
    "DarkroomPriceDrifts": gauge('darkroom_price_drifts{model="m"}', 4, 0),
    "DarkroomQuoteDoubted": counter('darkroom_quotes_doubted_total{model="m"}'),
    "DarkroomGateClosed": (still(_GATE, 1), still(_GATE, 0) | _PAUSED),
    "DarkroomInteractiveWaits": (_WAITS | still(_GATE, 0), _WAITS | _BULK | still(_GATE, 1)),
    "DarkroomNoWorker": (
        still("darkroom_workers", 0) | still(_WANTED, 3),
        still("darkroom_workers", 0) | still(_WANTED, 0),
    ),
    "DarkroomWorkerDeaf": (
        still(_SILENT, 300) | still(_REDIS, 1),
        still(_SILENT, 300) | still(_REDIS, 0),  # Redis is away for everybody
    ),
    "DarkroomDutyStuck": gauge('darkroom_duty_overdue_seconds{duty="reap"}', 5, 0),
    "DarkroomDutyFails": (
        grows('darkroom_duty_failures_total{cause="bug",duty="reap"}', 1),
        grows('darkroom_duty_failures_total{cause="postgres",duty="reap"}', 1),
    ),
    "DarkroomRowsSetAside": gauge('darkroom_set_aside{duty="reap"}', 1, 0),
    "DarkroomServerErrors": (
        grows(_OK, 98) | grows(_FAILED, 2),
        grows(_OK, 999) | grows(_FAILED, 1) | grows(_UNREADY, 900),
    ),
    "DarkroomDatabaseCrowded": gauge('darkroom_database_waiting{pool="direct"}', 3, 0),
    "DarkroomRedisAway": gauge(_REDIS, 0, 1),
    "DarkroomStoreRefuses": counter('darkroom_store_errors_total{operation="put"}'),
    "DarkroomErasureLate": gauge("darkroom_blobs_overdue_seconds", 4_000, 60),
    "DarkroomWebhooksLate": gauge("darkroom_deliveries_overdue_seconds", 400, 9),
    "DarkroomEndpointsFail": (
        still(_FAILING, 1),
        still(_FAILING, 0) | still('darkroom_endpoints{state="disabled"}', 4),
    ),
    "DarkroomKeyEnds": gauge("darkroom_api_keys_expiring", 1, 0),
    "DarkroomCertificateEnds": gauge(
        'probe_ssl_earliest_cert_expiry{job="darkroom"}', 5 * 86_400, 90 * 86_400
    ),
}
# What an alert must tell apart beside that: whether it fires.
MORE: Sequence[tuple[str, Series, bool]] = (
    ("DarkroomWorkerDeaf", still(_DEAF, 300) | still(_HEARS, 5), True),
    ("DarkroomWorkerDeaf", still(_DEAF, 300) | still(_HEARS, 300), False),
)
# It asks for what is nowhere, so each has a Prometheus of its own: which roles it misses.
ABSENT: Sequence[tuple[Series, Sequence[Missing]]] = (
    (_installed(None), []),
    *((_installed(None, **{role: _NEVER}), [(None, role)]) for role in _ROLES),
    (_installed(None, api=_WENT), [(None, "api")]),
    (_installed(None, **dict.fromkeys(_ROLES, _NEVER)), [(None, role) for role in _ROLES]),
    # Of two installations, one that has all.
    (_installed("a") | _installed("b"), []),
    *((_installed("a") | _installed("b", **{role: _NEVER}), [("b", role)]) for role in _ROLES),
    *((_installed("a") | _installed("b", **{role: _WENT}), [("b", role)]) for role in _ROLES),
    (_installed("a") | _installed("b", api=_CAME_BACK), []),
    (
        _installed("a") | _installed("b", **dict.fromkeys(_ROLES, _WENT)),
        [("b", role) for role in _ROLES],
    ),
)
