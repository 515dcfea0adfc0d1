"""Two small reference images to try editing with: a T-Rex and a blue mug."""

import io
from functools import cache

from PIL import Image, ImageDraw

_SIDE = 512
_T_REX = (
    (52, 170), (56, 126), (92, 98), (176, 84), (226, 112), (248, 172), (300, 236), (380, 284),
    (500, 262), (412, 352), (356, 372), (352, 420), (378, 452), (378, 466), (326, 466), (312, 400),
    (286, 384), (264, 418), (282, 452), (280, 466), (224, 466), (228, 400), (206, 340), (188, 290),
    (160, 308), (140, 300), (146, 286), (166, 282), (176, 258), (164, 226), (140, 214), (72, 206),
    (66, 192), (156, 184), (158, 176),
)  # fmt: skip


@cache
def t_rex() -> bytes:
    """Draw the T-Rex's silhouette, a PNG of 512x512."""
    picture = Image.new("RGB", (_SIDE, _SIDE), (244, 239, 226))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 462, _SIDE, _SIDE), fill=(214, 200, 170))
    pen.polygon(_T_REX, fill=(62, 92, 58))
    pen.ellipse((146, 104, 162, 120), fill=(250, 240, 200))
    pen.ellipse((151, 109, 158, 116), fill=(20, 20, 20))
    for tooth in range(4):
        left = 60 + 22 * tooth
        pen.polygon(((left, 168), (left + 14, 169), (left + 7, 184)), fill=(250, 248, 240))
    return _saved(picture, "PNG")


@cache
def blue_mug() -> bytes:
    """Draw the blue mug, a JPEG of 512x512."""
    picture = Image.new("RGB", (_SIDE, _SIDE), (240, 236, 230))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 400, _SIDE, _SIDE), fill=(196, 164, 128))
    pen.ellipse((110, 396, 410, 452), fill=(160, 130, 100))
    pen.ellipse((306, 190, 440, 350), outline=(24, 70, 150), width=30)
    pen.rectangle((120, 140, 360, 400), fill=(36, 98, 196))
    pen.ellipse((120, 368, 360, 432), fill=(36, 98, 196))
    pen.rectangle((146, 160, 170, 396), fill=(96, 150, 232))
    pen.ellipse((120, 108, 360, 172), fill=(24, 70, 150))
    pen.ellipse((136, 118, 344, 164), fill=(70, 44, 28))
    return _saved(picture, "JPEG")


def _saved(picture: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()
