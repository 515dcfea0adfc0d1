"""The scenarios: what a call may be answered with, and whether it is charged.

A play is one scenario with its number, chosen for one call: `ok`, `hang=30`, `latency=2+500`. A
script is a list of plays: `[sim: 429, 500, ok]` in the prompt, or `429, 500, ok` in the header
`X-Simulator-Scenario`, which wins over the prompt. The n-th call of a job takes the n-th play and
the last play repeats. Without a script, the server's rates decide. A play may lie: `500+charged`
(`lies.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from deploy.simulator import lies


class Delivery(StrEnum):
    """How an answer travels, or fails to."""

    WHOLE = "whole"
    RESET = "reset"
    FIN = "fin"
    HALF_HEADERS = "half_headers"
    HALF_BODY = "half_body"
    GARBAGE = "garbage"
    DRIP = "drip"


class Defect(StrEnum):
    """What is wrong with the image behind the URL."""

    NONE = "none"
    TRUNCATED = "truncated"
    CUT = "cut"
    NOT_AN_IMAGE = "not_an_image"
    GONE = "gone"
    WORKFLOW = "workflow"


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    `body` names a shape of success or a failure, see `answers.py`. `door`: refused at once, without
    the latency. `logged`: has a row in /v2/logs. `number` is what `name=NUMBER` is by default.
    """

    name: str
    charged: bool
    says: str
    body: str = "image"
    delivery: Delivery = Delivery.WHOLE
    defect: Defect = Defect.NONE
    door: bool = False
    logged: bool = True
    number: float | None = None


CHARGED, FREE = True, False
_ROWS = (
    Scenario("ok", CHARGED, "200 with an image URL"),
    Scenario("latency", CHARGED, "as ok, after the given seconds", number=1),
    Scenario("b64", CHARGED, "200 with the image as b64_json, whatever was asked", "b64"),
    Scenario("no_meta", CHARGED, "200, meta null; the price stands in the headers only", "no_meta"),
    Scenario("no_price", CHARGED, "200, no price anywhere but in the log", "no_price"),
    Scenario("tokens_used", CHARGED, "200, meta.usage.tokens_used, no price header", "tokens_used"),
    Scenario("images_list", CHARGED, "200 with top-level images[] and no data[]", "images_list"),
    Scenario("truncated_image", CHARGED, "200; half an image file", defect=Defect.TRUNCATED),
    Scenario("cut_image", CHARGED, "200; the image's download breaks off", defect=Defect.CUT),
    Scenario("not_an_image", CHARGED, "200; HTML at the image's URL", defect=Defect.NOT_AN_IMAGE),
    Scenario(
        "png_with_workflow",
        CHARGED,
        "200; a PNG with texts that inflate to 3 MiB, or whose checksum is wrong",
        defect=Defect.WORKFLOW,
    ),
    Scenario("image_gone", CHARGED, "200; 404 at the image's URL", defect=Defect.GONE),
    Scenario("item_error", FREE, "200, data[0].error and no image", "ok_but_item_error"),
    Scenario("401", FREE, "401, never logged", "unauthorized", door=True, logged=False),
    Scenario("403_credits", FREE, "403, out of credits", "out_of_credits", door=True),
    Scenario("403_funds", FREE, "403, the same in newer words", "out_of_funds", door=True),
    Scenario("403_other", FREE, "403, not about money", "forbidden_other", door=True),
    Scenario(
        "403_html",
        FREE,
        "403, HTML of a firewall; never logged",
        "edge_forbidden",
        door=True,
        logged=False,
    ),
    Scenario("404", FREE, "404, the model is gone", "model_gone", door=True),
    Scenario("429", FREE, "429 without Retry-After", "legacy_rate_limit", door=True),
    Scenario(
        "429_retry_after",
        FREE,
        "429 with Retry-After of the given seconds",
        "legacy_rate_limit",
        door=True,
        number=1,
    ),
    Scenario("moderation_400", FREE, "400, the prompt is refused", "moderation_400", door=True),
    Scenario("moderation_500", FREE, "500, the image is refused", "moderation_as_500"),
    Scenario(
        "moderation_down",
        FREE,
        "400, the moderation service failed",
        "moderation_service_down",
        door=True,
    ),
    Scenario("500", FREE, "500 in the provider's JSON", "partner_failure"),
    Scenario("503", FREE, "503 in the provider's JSON", "unavailable"),
    Scenario("502_html", FREE, "502, HTML of the edge", "edge_html"),
    Scenario("502_charged", CHARGED, "502, HTML of the edge; the origin finished", "edge_html"),
    Scenario("504_uncharged", FREE, "504 in the provider's JSON", "generation_timeout"),
    Scenario("504_charged", CHARGED, "504; the generation finished", "generation_timeout"),
    Scenario("524", FREE, "524, HTML of the edge", "edge_524"),
    Scenario("524_charged", CHARGED, "524; the origin finished", "edge_524"),
    Scenario("lost", FREE, "reset, and never logged", delivery=Delivery.RESET, logged=False),
    Scenario("reset_before_charge", FREE, "TCP reset", delivery=Delivery.RESET),
    Scenario("reset_after_charge", CHARGED, "TCP reset", delivery=Delivery.RESET),
    Scenario("fin", FREE, "closed without an answer", delivery=Delivery.FIN),
    Scenario("fin_charged", CHARGED, "closed without an answer", delivery=Delivery.FIN),
    Scenario("half_headers", CHARGED, "closed amid the headers", delivery=Delivery.HALF_HEADERS),
    Scenario("half_body", CHARGED, "200, closed amid the JSON", delivery=Delivery.HALF_BODY),
    Scenario("garbage", CHARGED, "bytes that are not HTTP", delivery=Delivery.GARBAGE),
    Scenario("not_json", CHARGED, "200, a body that is not JSON", "not_json"),
    Scenario(
        "drip",
        CHARGED,
        "as ok, byte by byte over the given seconds",
        delivery=Delivery.DRIP,
        number=5,
    ),
    Scenario("hang", CHARGED, "charged, silent for the given seconds, then as ok", number=600),
)
TABLE: Mapping[str, Scenario] = {row.name: row for row in _ROWS}
OK = TABLE["ok"]
_DIRECTIVE = re.compile(r"\[sim:([^\]]*)\]", re.IGNORECASE)


class UnknownScenarioError(ValueError):
    """The words name no scenario; the message lists those there are."""


@dataclass(frozen=True)
class Play:
    """A scenario chosen for one call; `number` is its argument, `latency` in seconds overrides."""

    scenario: Scenario
    number: float = 0.0
    latency: float | None = None
    lies: Mapping[str, float] = field(default_factory=dict)

    @property
    def charged(self) -> bool:
        """Whether the account's ledger charges the call."""
        return lies.charged(self.lies, self.scenario.charged)


def script_of(header: str | None, prompt: str) -> tuple[Play, ...]:
    """Read the script that came with a call, empty without one; raises `UnknownScenarioError`."""
    if header is not None:
        return read_script(header)
    found = _DIRECTIVE.search(prompt)
    return read_script(found[1]) if found else ()


def read_script(text: str) -> tuple[Play, ...]:
    """Read plays separated by commas; raises `UnknownScenarioError`."""
    return tuple(read_play(item) for item in text.split(",") if item.strip())


def read_play(item: str) -> Play:
    """Read one play: `name`, `name=NUMBER`, `latency=S+name`, `name+lie`.

    Raises `UnknownScenarioError`.
    """
    play = Play(OK)
    for part in item.strip().split("+"):
        name, _, written = part.strip().partition("=")
        row = TABLE.get(name) or lies.TABLE.get(name)
        if row is None or (written and row.number is None):
            there = ", ".join((*TABLE, *lies.TABLE))
            raise UnknownScenarioError(f"no scenario {part.strip()!r}; there are: {there}")
        number = _number(part, written, row.number or 0.0)
        if isinstance(row, lies.Lie):
            play = replace(play, lies={**play.lies, name: number})
        elif name == "latency":
            play = replace(
                play, scenario=row if play.scenario is OK else play.scenario, latency=number
            )
        else:
            play = replace(play, scenario=row, number=number)
    return play


def read_rates(text: str) -> dict[str, float]:
    """Read `504_charged=0.1,hang=30=0.01`: the last number of each is its share of the calls."""
    rates: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = item.strip().rpartition("=")
        if item.strip():
            rates[name] = _number(item, share, 0.0)
    check_rates(rates)
    return rates


def check_rates(rates: Mapping[str, float]) -> None:
    """Raise `ValueError` unless all names are plays and the shares are parts of one."""
    for name in rates:
        read_play(name)
    if any(share < 0 for share in rates.values()) or sum(rates.values()) > 1 + 1e-9:
        raise ValueError("rates are shares of all calls: none below 0, 1 together at most")


def draw(rates: Mapping[str, float], random: Random) -> Play:
    """Choose a play by the server's rates; what they leave over is `ok`."""
    dice = random.random()
    for name, share in rates.items():
        dice -= share
        if dice < 0:
            return read_play(name)
    return Play(OK)


def _number(part: str, written: str, default: float) -> float:
    try:
        number = float(written) if written else default
    except ValueError:
        raise UnknownScenarioError(f"{part.strip()!r}: not a number") from None
    if not 0 <= number < float("inf"):
        raise UnknownScenarioError(f"{part.strip()!r}: not a number of seconds")
    return number
