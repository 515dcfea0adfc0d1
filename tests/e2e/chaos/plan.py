"""What is to be played: how much of everything, and in which order, all drawn from one seed."""

from dataclasses import dataclass, replace
from random import Random

# Each row of the provider's table, at 30 % of all calls together. What closes a gate for everybody is
# rarer than the rest, or nothing else would be seen.
_ROWS = (
    "429", "429_retry_after", "item_error", "moderation_400", "moderation_500", "moderation_down",
    "500", "503", "502_html", "502_charged", "504_uncharged", "504_charged", "524", "524_charged",
    "lost", "reset_before_charge", "reset_after_charge", "fin", "fin_charged", "half_headers",
    "half_body", "garbage", "not_json", "b64", "no_meta", "no_price", "tokens_used", "images_list",
    "drip=2",
)  # fmt: skip
_RARE = ("401", "403_credits", "403_funds", "403_other", "404")
LASTING = ("truncated_image", "cut_image", "not_an_image", "image_gone")
_SHARE, _RARE_SHARE = 0.30, 0.002


@dataclass(frozen=True)
class Plan:
    """One run. Durations are seconds; leases are short, so that a run is bounded.

    `lease` is DARKROOM_LEASE_RUN, `away` how long Postgres is stopped, `frozen` how long Redis is. A
    paid image is given up after `keep`: only then does a broken image let its job end, so none is
    broken for good when `keep` is longer than the `patience` at the end.
    """

    jobs: int = 300
    kills: int = 15
    seed: int = 1
    apis: int = 2
    dispatchers: int = 2
    workers: int = 3
    clients: int = 12
    latency: float = 1.0
    lease: float = 5.0
    flushes: int = 3
    restarts: int = 10
    away: float = 20.0
    frozen: float = 20.0
    keep: float = 90.0
    pause: float = 1.0  # between the beginnings of two faults
    patience: float = 300.0  # for everything to come to rest afterwards
    takeover: float = (
        5.0  # p95 of what a job whose lease has run out may wait for its next dispatch
    )
    faults: tuple[str, ...] = (
        "freeze_worker", "freeze_worker", "freeze_dispatchers", "freeze_redis", "kill_redis",
        "stop_postgres", "shut_store", "lose_commits", "lose_commits", "lose_commits",
        "terminate_worker", "terminate_dispatcher", "terminate_api", "restart_provider",
    )  # fmt: skip

    @property
    def attempt_timeout(self) -> float:
        """What a call may take: longer than a freeze of three leases, whose late answer must count."""
        return 3 * self.lease + 4

    @property
    def rates(self) -> dict[str, float]:
        """How the provider answers the calls: 70 % as it should."""
        slow = (*LASTING, f"hang={self.attempt_timeout + 1:g}") if self.keep < self.patience else ()
        rare = dict.fromkeys((*_RARE, *slow), _RARE_SHARE)
        return rare | dict.fromkeys(_ROWS, (_SHARE - sum(rare.values())) / len(_ROWS))

    def with_seed(self, seed: int) -> "Plan":
        """Return the same plan, drawn from another seed."""
        return replace(self, seed=seed)

    def schedule(self) -> list[str]:
        """Draw the order of the faults; the same seed gives the same."""
        random = Random(self.seed)  # noqa: S311  # the order of faults, no secret
        drawn = [
            *(random.choice(_VICTIMS) for _ in range(self.kills)),
            *("flush_redis" for _ in range(self.flushes)),
            *("restart_postgres" for _ in range(self.restarts)),
            *self.faults,
        ]
        random.shuffle(drawn)
        return drawn


# Workers hold the money; now and then everything of a kind, or everything, goes at once.
_VICTIMS = (
    *("kill_worker",) * 10, *("kill_dispatcher",) * 4, *("kill_api",) * 4,
    "kill_workers", "kill_dispatchers",
)  # fmt: skip
