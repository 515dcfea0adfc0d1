"""The table of scenarios: what a call may be answered with, and whether it is charged.

`docs/testing-failures.md` lists them for people, and a test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Delivery(StrEnum):
    """How an answer travels, or fails to."""

    WHOLE = "whole"
    RESET = "reset"
    FIN = "fin"
    HALF_HEADERS = "half_headers"
    HALF_BODY = "half_body"
    SHORT_BODY = "short_body"
    LOST_TAIL = "lost_tail"
    LONG_HEADER = "long_header"
    MANY_HEADERS = "many_headers"
    ODD_HEADERS = "odd_headers"
    GZIP = "gzip"
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
    GONE_FOR_GOOD = "gone_for_good"
    DENIED = "denied"
    NO_END = "no_end"
    REDIRECT = "redirect"
    LONG_HEADER = "long_header"
    GZIP = "gzip"
    CODING = "coding"
    PARTIAL = "partial"


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    `body` names a shape of success or a failure, see `answers/`. `door`: refused at once, without
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
    Scenario("image_410", CHARGED, "200; 410 at the image's URL", defect=Defect.GONE_FOR_GOOD),
    Scenario("image_403", CHARGED, "200; 403 at the image's URL", defect=Defect.DENIED),
    Scenario(
        "image_no_end", CHARGED, "200; the image lacks its last two bytes", defect=Defect.NO_END
    ),
    Scenario(
        "image_redirect",
        CHARGED,
        "200; at the image's URL a redirect with spaces in its Location",
        defect=Defect.REDIRECT,
    ),
    Scenario(
        "image_long_header",
        CHARGED,
        "200; the image comes with a header of 64 kB",
        defect=Defect.LONG_HEADER,
    ),
    Scenario(
        "image_gzip",
        CHARGED,
        "200; the image comes compressed though nobody asked",
        defect=Defect.GZIP,
    ),
    Scenario(
        "image_coding",
        CHARGED,
        "200; the image's host says Content-Encoding: aws-chunked, and sends it as it is",
        defect=Defect.CODING,
    ),
    Scenario(
        "image_206",
        CHARGED,
        "200; the image's host answers 206, with all of it",
        defect=Defect.PARTIAL,
    ),
    Scenario("url_long", CHARGED, "200; the image's URL has over 8,192 characters", "url_long"),
    Scenario("url_spaces", CHARGED, "200; spaces around and inside of the URL", "url_spaces"),
    Scenario("url_object", CHARGED, "200; the URL inside of an object", "url_object"),
    Scenario("url_data", CHARGED, "200; a data: URL under url", "url_data"),
    Scenario("url_in_b64", CHARGED, "200; the URL under b64_json", "url_in_b64"),
    Scenario("image_url", CHARGED, "200; data[0].image_url.url", "image_url"),
    Scenario("image_key", CHARGED, "200; the URL under a top-level image", "image_key"),
    Scenario("output_list", CHARGED, "200; the URL in a top-level output[]", "output_list"),
    Scenario("urls_list", CHARGED, "200; the URL in a top-level urls[]", "urls_list"),
    Scenario("url_amp", CHARGED, "200; the URL's ampersands written as in HTML", "url_amp"),
    Scenario(
        "chat_image", CHARGED, "200; choices[0].message.images[0].image_url.url", "chat_image"
    ),
    Scenario(
        "chat_markdown",
        CHARGED,
        "200; Markdown with the URL in choices[0].message.content",
        "chat_markdown",
    ),
    Scenario(
        "inline_data",
        CHARGED,
        "200; base 64 in candidates[0].content.parts[0].inlineData.data",
        "inline_data",
    ),
    Scenario("b64_data", CHARGED, "200; b64_json begins with data:", "b64_data"),
    Scenario("b64_lines", CHARGED, "200; b64_json in lines of 76 letters", "b64_lines"),
    Scenario("b64_url", CHARGED, "200; b64_json in the URL alphabet, unpadded", "b64_url"),
    Scenario("bare_image", CHARGED, "200; the body is the image itself", "bare_image"),
    Scenario("paid_empty", CHARGED, "200 with a price, and data[] is empty", "paid_empty"),
    Scenario("paid_odd", CHARGED, "200 with a price, in a shape nobody knows", "paid_odd"),
    Scenario("long_header", CHARGED, "as ok, a header of 64 kB", delivery=Delivery.LONG_HEADER),
    Scenario(
        "many_headers",
        CHARGED,
        "as ok, with as many more headers as the number says",
        delivery=Delivery.MANY_HEADERS,
        number=1000,
    ),
    Scenario(
        "odd_headers",
        CHARGED,
        "as ok; headers folded, twice, not ASCII, without a colon",
        delivery=Delivery.ODD_HEADERS,
    ),
    Scenario(
        "short_body",
        CHARGED,
        "as ok; Content-Length is more than there is",
        delivery=Delivery.SHORT_BODY,
    ),
    Scenario("gzip", CHARGED, "as ok, compressed though nobody asked", delivery=Delivery.GZIP),
    Scenario("200_invalid", FREE, "200, error.code InvalidParameter", "200_invalid"),
    Scenario("200_invalid_paid", CHARGED, "the same, and it names a price", "200_invalid"),
    Scenario("200_moderation", FREE, "200, the prompt is refused inside", "200_moderation"),
    Scenario("200_slow_down", FREE, "200, a rate limit inside", "200_slow_down"),
    Scenario("200_wallet", FREE, "200, insufficient_quota inside", "200_wallet"),
    Scenario("200_gone", FREE, "200, the model is gone inside", "200_gone"),
    Scenario("200_false", FREE, "200, success false and what is wrong", "200_false"),
    Scenario("item_invalid", FREE, "200, data[0].error.code InvalidParameter", "item_invalid"),
    Scenario("402", FREE, "402 and two words", "402", door=True),
    Scenario("400_billing", FREE, "400, billing_hard_limit_reached", "400_billing", door=True),
    Scenario("429_quota", FREE, "429, insufficient_quota", "429_quota", door=True),
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
    Scenario(
        "half_body",
        CHARGED,
        "200, closed amid the JSON; a header names the price",
        delivery=Delivery.HALF_BODY,
    ),
    Scenario(
        "half_priced",
        CHARGED,
        "the same; only the JSON names it, at its beginning",
        "price_first",
        delivery=Delivery.HALF_BODY,
    ),
    Scenario(
        "half_silent",
        CHARGED,
        "the same; no price is named",
        "no_price",
        delivery=Delivery.HALF_BODY,
    ),
    Scenario(
        "lost_tail",
        CHARGED,
        "as ok; Content-Length is less than there is, and ends amid the JSON",
        delivery=Delivery.LOST_TAIL,
    ),
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
