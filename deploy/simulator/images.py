"""The images behind the URLs: what each is drawn from, and a GET-only place to fetch them.

Only the parameters are kept, about 500 bytes an image; the file is drawn whenever it is asked for.
"""

import gzip
import secrets
from asyncio import get_running_loop
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from aiohttp import web

from deploy.simulator import clock, pictures, references, wire
from deploy.simulator.journal import Journal, Json
from deploy.simulator.table import Defect

_LONG = 64_000  # bytes of one header
_CODINGS = {Defect.GZIP: "gzip", Defect.CODING: "aws-chunked"}
_WORDS = 120  # characters of the prompt that are shown


@dataclass(frozen=True, slots=True)
class Picture:
    """What one image is drawn from; `dice` is a fingerprint in hex."""

    name: str
    sig: str
    words: str
    dice: str
    width: int
    height: int
    defect: Defect

    @property
    def path(self) -> str:
        """The path and the signature, below the public URL."""
        return f"/cdn/generations/{self.name}?sig={self.sig}"


class Images:
    """All images ever made, by name."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._by_name: dict[str, Picture] = {}
        # Pillow lets go of the GIL while it enlarges and encodes; two threads fill two cores.
        self._painters = ThreadPoolExecutor(2, thread_name_prefix="painter")
        self.pictures = "drawn"

    def make(self, prompt: str, seed: int, size: tuple[int, int], defect: Defect) -> Picture:
        """Record what an image is drawn from, and return its name."""
        width, height = size
        name = f"{int(clock.now().timestamp() * 1000)}-{secrets.token_hex(12)}.jpeg"
        dice = pictures.fingerprint(prompt, seed, width, height).hex()
        sig = secrets.token_hex(16)
        # Half a surrogate pair may stand in JSON, and cannot be drawn.
        words = prompt[:_WORDS].encode(errors="replace").decode()
        picture = Picture(name, sig, words, dice, width, height, defect)
        self._journal.append("image", asdict(picture))
        self._by_name[name] = picture
        return picture

    def find(self, name: str, sig: str | None) -> Picture | None:
        """Return the image of this name, if the signature is its own."""
        picture = self._by_name.get(name)
        fits = picture is not None and secrets.compare_digest(
            picture.sig.encode(), (sig or "").encode()
        )
        return picture if fits else None

    async def paint(self, picture: Picture) -> bytes:
        """Draw the JPEG, off the event loop."""
        return await get_running_loop().run_in_executor(self._painters, self._draw, picture)

    def restore(self, line: Json) -> None:
        """Take an image's parameters back from the journal."""
        values = {name: value for name, value in line.items() if name != "kind"}
        values["defect"] = Defect(str(values["defect"]))
        picture = Picture(**values)  # type: ignore[arg-type]  # our own line, written by make
        self._by_name[picture.name] = picture

    def close(self) -> None:
        """End the painters."""
        self._painters.shutdown(wait=False, cancel_futures=True)

    def _draw(self, picture: Picture) -> bytes:
        if self.pictures == "stamped":
            return pictures.stamp(picture.name, picture.width, picture.height)
        dice = bytes.fromhex(picture.dice)
        return pictures.draw(picture.words, dice, picture.width, picture.height)


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
        return web.Response(body=pictures.with_workflow(drawn), content_type="image/png")
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
