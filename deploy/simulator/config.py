"""How a simulator behaves: set at the start, some of it changed while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.simulator import scenarios

CREDITS_PER_USD = 2_000_000  # the provider's documented rate
FAULTS = ("", "401", "403", "500", "429", "reset", "loop", "ahead")


@dataclass(frozen=True)
class Config:
    """All there is to choose. Durations are seconds, money is the provider's credits.

    `price` is what one image costs, and `tariffs` the `pricing` blocks of models that cost otherwise;
    `edits` are fields whose schema the provider has changed since, or taken away (None), by model.
    Calls take `latency`, give or take a `spread` of it (0 to 1), drawn evenly: no two end together.
    `log_lag` and `charge_lag` are how late a call appears in /v2/logs and in /v2/billing/transactions;
    `limit` is the real concurrency limit, None for none; `log_requests` is how many /v2/logs requests a
    minute are answered. `quoted_price` is what the catalogue says where it differs from `price`.
    `account_fault` is how every account route fails: not at all, with a status ("401", "403", "429",
    "500"), with a "reset", or in its pages: each leads to itself ("loop"), or has a row of another century
    ("ahead"). `skew` is how far the account's clock is ahead of ours, behind when it is below zero.
    `pictures` is "drawn", or "stamped": one cached drawing per size, made unique by a JPEG
    comment, so that a load test measures the caller and not Pillow. Raises `ValueError` for what cannot be.
    """

    key: str = "simulator-key"
    host: str = "127.0.0.1"
    port: int = 0
    data: Path | None = None
    latency: float = 0.0
    spread: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)
    log_lag: float = 0.0
    charge_lag: float = 0.0
    log_requests: int = 200
    limit: int | None = None
    balance_usd: float = 100.0
    price: int = 91_000
    quoted_price: int | None = None
    tariffs: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    edits: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    account_fault: str = ""
    skew: float = 0.0
    public_url: str | None = None
    seed: int = 0
    pictures: str = "drawn"

    def __post_init__(self) -> None:
        scenarios.check_rates(self.rates)
        if min(self.latency, self.log_lag, self.charge_lag, self.price - 1, self.limit or 0) < 0:
            raise ValueError(
                "latency, lags and limit are not negative, and the price is at least 1"
            )
        if not 0 <= self.spread <= 1:
            raise ValueError("spread is a share of the latency, 0 to 1")
        if self.account_fault not in FAULTS:
            raise ValueError(f"account_fault is one of {', '.join(map(repr, FAULTS))}")
        if not self.key or self.pictures not in {"drawn", "stamped"}:
            raise ValueError("a key is needed, and pictures are 'drawn' or 'stamped'")


_FLOATS = {"latency", "spread", "log_lag", "charge_lag", "skew"}
_WHOLES = {"price", "quoted_price", "limit", "log_requests"}
_OPTIONAL = {"limit", "quoted_price"}
_OBJECTS = {"tariffs", "edits"}
_TEXTS = {"key", "pictures", "account_fault"}


def changed(config: Config, body: Mapping[str, object]) -> Config:
    """Apply a change that came as JSON; raises `ValueError` naming the field that is wrong.

    `rates` is an object or the text of the command line; `limit` null takes the limit away, and
    `quoted_price` null the difference.
    """
    for name, value in body.items():
        config = replace(config, **{name: _value(name, value)})  # type: ignore[arg-type]  # _value checks each field's type
    return config


def _value(name: str, value: object) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "rates" and isinstance(value, str):
        return scenarios.read_rates(value)
    if name == "rates" and isinstance(value, dict):
        if all(isinstance(share, int | float) for share in value.values()):
            return value
    elif (
        (name in _OPTIONAL and value is None)
        or (name in _TEXTS and isinstance(value, str))
        or (name in _OBJECTS and isinstance(value, dict))
        or (name in _FLOATS and number)
        or (name in _WHOLES and number and isinstance(value, int))
    ):
        return value
    raise ValueError(f"{name}: cannot be changed to {value!r}")


def usd(amount: int) -> float:
    """Credits in US dollars."""
    return amount / CREDITS_PER_USD
