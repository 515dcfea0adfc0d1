"""The images behind the URLs: what each is drawn from.

Only the parameters are kept, about 500 bytes an image; the file is drawn whenever it is asked for.
"""

import secrets
from asyncio import get_running_loop
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from deploy.simulator import clock
from deploy.simulator.journal import Journal, Json
from deploy.simulator.pictures import drawing
from deploy.simulator.scenarios.table import Defect

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
        dice = drawing.fingerprint(prompt, seed, width, height).hex()
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
            return drawing.stamp(picture.name, picture.width, picture.height)
        dice = bytes.fromhex(picture.dice)
        return drawing.draw(picture.words, dice, picture.width, picture.height)
