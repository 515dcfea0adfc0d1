"""A GET-only place to fetch the images from, with the defects of their scenarios."""

import gzip

from aiohttp import web

from deploy.simulator.answers import wire
from deploy.simulator.pictures import Images, drawing, references
from deploy.simulator.scenarios.table import Defect

_LONG = 64_000  # bytes of one header
_CODINGS = {Defect.GZIP: "gzip", Defect.CODING: "aws-chunked"}

IMAGES = web.AppKey("images", Images)


async def fetch(request: web.Request) -> web.StreamResponse:
    """`GET /cdn/generations/{name}?sig=`: the image, with the defect its scenario gave it."""
    images = request.app[IMAGES]
    picture = images.find(request.match_info["name"], request.query.get("sig"))
    if picture is None:
        raise web.HTTPForbidden(text="SignatureDoesNotMatch")
    if picture.defect is Defect.DENIED:
        raise web.HTTPForbidden(text="AccessDenied")
    if picture.defect is Defect.GONE:
        raise web.HTTPNotFound(text="NoSuchKey")
    if picture.defect is Defect.GONE_FOR_GOOD:
        raise web.HTTPGone(text="NoSuchKey")
    if picture.defect is Defect.REDIRECT and "to" not in request.query:
        there = f" {picture.path}&to=another place "
        return web.Response(status=302, headers={"Location": there})
    if picture.defect is Defect.NOT_AN_IMAGE:
        return web.Response(body=b"<html>not an image</html>", content_type="image/jpeg")
    drawn = await images.paint(picture)
    if picture.defect is Defect.WORKFLOW:
        return web.Response(body=drawing.with_workflow(drawn), content_type="image/png")
    drawn = drawn[:-2] if picture.defect is Defect.NO_END else drawn
    half = drawn[: len(drawn) // 2]
    if picture.defect is Defect.CUT:
        return wire.cut(request, wire.head(200, "image/jpeg", len(drawn)) + half)
    if picture.defect is Defect.LONG_HEADER:
        top = wire.head(200, "image/jpeg", len(drawn), {"x-padding": "x" * _LONG})
        return wire.cut(request, top + drawn)
    packed = picture.defect is Defect.GZIP
    body = gzip.compress(drawn) if packed else half if picture.defect is Defect.TRUNCATED else drawn
    said = _CODINGS.get(picture.defect)
    return web.Response(
        status=206 if picture.defect is Defect.PARTIAL else 200,
        body=body,
        content_type="image/jpeg",
        headers={"Content-Encoding": said} if said else {},
    )


async def refuse_head(_: web.Request) -> web.StreamResponse:
    """`HEAD` of an image: the signature is for GET only, as at the provider's stores."""
    raise web.HTTPForbidden


async def reference(request: web.Request) -> web.StreamResponse:
    """`GET /reference/{name}`: the T-Rex or the blue mug."""
    match request.match_info["name"]:
        case "t-rex.png":
            return web.Response(body=references.t_rex(), content_type="image/png")
        case "blue-mug.jpg":
            return web.Response(body=references.blue_mug(), content_type="image/jpeg")
    raise web.HTTPNotFound
