"""Odd bodies of a 200: images in other places, and errors inside of a success."""

import base64
import textwrap
from collections.abc import Callable, Mapping

Json = dict[str, object]

_LINE = 76  # letters, as MIME breaks base 64
_LONG = "x" * 8_200
_ASPECT = "expected the aspect ratio to be between 1/16 and 16"
_INVALID = {"code": "InvalidParameter", "message": _ASPECT}


def _b64(jpeg: bytes) -> str:
    return base64.b64encode(jpeg).decode()


def _item(**fields: object) -> Json:
    return {"data": [fields]}


def _chat(**message: object) -> Json:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": "", **message}}]}


# Each gets the image's URL.
_BY_URL: Mapping[str, Callable[[str], Json]] = {
    "url_long": lambda url: _item(url=f"{url}&token={_LONG}"),
    "url_spaces": lambda url: _item(url=f" {url}&note=a red bicycle\n"),
    "url_object": lambda url: _item(url={"url": url}),
    "url_in_b64": lambda url: _item(b64_json=url),
    "image_url": lambda url: _item(image_url={"url": url}),
    "image_key": lambda url: {"image": url},
    "output_list": lambda url: {"output": [url]},
    "urls_list": lambda url: {"urls": [url]},
    "url_amp": lambda url: _item(url=f"{url}&note=red".replace("&", "&amp;")),
    "chat_image": lambda url: _chat(images=[{"type": "image_url", "image_url": {"url": url}}]),
    "chat_markdown": lambda url: _chat(content=f"Here it is: ![a picture]({url})"),
    "price_first": lambda url: _item(size="2048x2048", url=url),
    "paid_empty": lambda _: {"data": []},
    "paid_odd": lambda _: {"generation": {"file": {"id": "file-7f3a", "expires_in": 3600}}},
    "200_invalid": lambda _: {"error": _INVALID},
    "200_moderation": lambda _: {
        "error": {
            "code": "InputTextSensitiveContentDetected",
            "message": "The request failed because the input text may contain sensitive information.",
        }
    },
    "200_slow_down": lambda _: {
        "error": {"code": "RateLimitExceeded", "message": "Too many requests"}
    },
    "200_wallet": lambda _: {
        "error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}
    },
    "200_gone": lambda _: {
        "error": {"code": "ModelNotFound", "message": "The model has been taken out of service"}
    },
    "200_false": lambda _: {"success": False, "message": _INVALID["message"]},
    "item_invalid": lambda _: _item(url=None, b64_json=None, error=_INVALID),
}
# Each gets the JPEG.
_BY_JPEG: Mapping[str, Callable[[bytes], Json]] = {
    "url_data": lambda jpeg: _item(url=f"data:image/jpeg;base64,{_b64(jpeg)}"),
    "b64_data": lambda jpeg: _item(b64_json=f"data:image/jpeg;base64,{_b64(jpeg)}"),
    "b64_lines": lambda jpeg: _item(b64_json="\n".join(textwrap.wrap(_b64(jpeg), _LINE))),
    "inline_data": lambda jpeg: {
        "candidates": [
            {"content": {"parts": [{"inlineData": {"mimeType": "image/jpeg", "data": _b64(jpeg)}}]}}
        ]
    },
    "b64_url": lambda jpeg: _item(b64_json=base64.urlsafe_b64encode(jpeg).decode().rstrip("=")),
}
BARE = "bare_image"
OF_JPEG = _BY_JPEG.keys() | {BARE}
ALL = _BY_URL.keys() | OF_JPEG


def body(shape: str, url: str, price: int | None, jpeg: bytes | None) -> Json:
    """Make the body of a shape; None as the price names none."""
    made = _BY_JPEG[shape](jpeg) if jpeg is not None else _BY_URL[shape](url)
    meta: Json = {} if price is None else {"meta": {"usage": {"credits_used": price}}}
    return {**meta, **made} if shape == "price_first" else {**made, **meta}
