"""The provider's answers: the canned failures of `answers.json`, and the shapes of success."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from deploy.simulator import clock
from deploy.simulator.answers import shapes
from deploy.simulator.config import usd

_PROBLEM = "application/problem+json; charset=utf-8"
_JSON = "application/json; charset=utf-8"
_CANNED: Mapping[str, dict[str, object]] = {
    row["name"]: row for row in json.loads(Path(__file__).with_name("answers.json").read_bytes())
}
_PATH = "/v1/images/generations"
_SHORT: Mapping[str, tuple[int, dict[str, object]]] = {
    "402": (402, {"message": "Payment Required"}),
    "400_billing": (
        400,
        {
            "error": {
                "message": "Billing hard limit has been reached.",
                "type": "invalid_request_error",
                "code": "billing_hard_limit_reached",
            }
        },
    ),
    "429_quota": (
        429,
        {
            "error": {
                "message": "You exceeded your current quota, please check your plan.",
                "type": "insufficient_quota",
                "code": "insufficient_quota",
            }
        },
    ),
}


@dataclass(frozen=True)
class Answer:
    """A status, a body and headers, not yet on the wire."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def failure(
    name: str, request_id: str, *, path: str = _PATH, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return the failure of this name, with the request's own path, id and time in it."""
    if name == "model_gone":
        return problem(404, "Model not found", request_id, path=path)
    if name == "unavailable":
        text = "Service is temporarily unavailable. Please, try again later."
        return problem(503, text, request_id, path=path)
    if name in _SHORT:
        status, short = _SHORT[name]
        return Answer(status, json.dumps(short).encode(), headers=headers or {})
    row = _CANNED[name]
    body, kind = row["body"], str(row["content_type"])
    if isinstance(body, dict):
        fresh = {
            "instance": path,
            "path": path,
            "requestId": request_id,
            "timestamp": clock.text(clock.now()),
        }
        body = json.dumps({**body, **{name: fresh[name] for name in fresh if name in body}})
    return Answer(int(str(row["status"])), str(body).encode(), kind, headers or {})


def problem(
    status: int, message: str, request_id: str, *, path: str = _PATH, data: object = None
) -> Answer:
    """Return a failure in the provider's problem+json; `data` is the list of its field errors."""
    title = HTTPStatus(status).phrase
    error: dict[str, object] = {"name": f"{title.replace(' ', '')}Exception", "message": message}
    if data is not None:
        error["data"] = data
    body = {
        "title": title,
        "status": status,
        "message": message,
        "instance": path,
        "requestId": request_id,
        "timestamp": clock.text(clock.now()),
        "error": error,
    }
    return Answer(status, json.dumps(body).encode(), _PROBLEM)


def success(shape: str, urls: Sequence[str], size: str, price: int, jpeg: bytes | None) -> Answer:
    """Return a 200 in one of its shapes; `jpeg` stands for the URL when base 64 was asked for.

    Only the published shapes have more than one image.
    """
    url, *more = urls
    if shape == "not_json":
        return Answer(200, b'{"data": [{"url": https://', headers=_price(price))
    if shape == shapes.BARE and jpeg is not None:
        return Answer(200, jpeg, "image/jpeg", _price(price))
    if shape in shapes.ALL:
        odd = json.dumps(shapes.body(shape, url, price or None, jpeg)).encode()
        return Answer(200, odd, headers=_price(price) if price and shape != "price_first" else {})
    item: dict[str, object] = {"url": url, "size": size}
    if jpeg is not None:
        item = {"b64_json": base64.b64encode(jpeg).decode(), "size": size}
    items = [item, *({"url": each, "size": size} for each in more)]
    body: dict[str, object] = {"data": items, "meta": {"usage": {"credits_used": price}}}
    headers, silent = _price(price), dict[str, str]()
    match shape:
        case "no_meta":
            body = {"data": [{**item, "b64_json": item.get("b64_json")}], "meta": None}
        case "no_price":
            body = {"data": [item], "meta": None}
            headers = silent
        case "tokens_used":
            body["meta"] = {"usage": {"tokens_used": price}}
            headers = silent
        case "images_list":
            body = {"images": [item], "meta": body["meta"]}
        case "images":
            width, _, height = size.partition("x")
            drawn = {"width": int(width), "height": int(height), "content_type": "image/jpeg"}
            body = {"images": [{"url": each, **drawn} for each in urls], "meta": body["meta"]}
    return Answer(200, json.dumps(body).encode(), headers=headers)


def _price(price: int) -> dict[str, str]:
    return {"x-aimlapi-credits-used": str(price), "x-aimlapi-usd-spent": f"{usd(price):.6f}"}
