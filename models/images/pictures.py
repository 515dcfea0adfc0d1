"""Decoding in a child process: the bytes of images are hostile until they are decoded.

The child (`models.images.decoding.child`) has limits on memory and time and nothing to lose. When it dies,
the request that killed it is answered with `Broken`, and the next one gets a fresh child.
"""

import asyncio
import os
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

_ROOT = Path(__file__).parents[2]
_CHILD = "models.images.decoding.child"
_MEMORY = 1024**3  # bytes; 36 megapixels with alpha, decoded and converted, need about half
_CPU = timedelta(seconds=10)  # for one image; 36 megapixels of PNG take about 2
_WALL = timedelta(seconds=20)  # the same on a machine that has other things to do
_NICE = 5  # who waits for a picture has more time than who waits for an answer
_OUT_OF_MEMORY = 75  # the child's exit status that says so
_SIZE = struct.Struct(">II")
_LAST_BREATH = timedelta(seconds=1)
ANSWER_MAX = 4 * 1024 * 1024  # bytes; a thumbnail of 512 x 512 has less than 1 MiB
_CONVERTED_MAX = 128 * 1024 * 1024  # bytes; 36 megapixels of noise have 108 MB as PNG

Converted = Literal["png", "webp"]


@dataclass(frozen=True)
class Size:
    """Width and height in pixels, as the header tells them: before any rotation."""

    width: int
    height: int


@dataclass(frozen=True)
class Broken:
    """The image cannot be decoded within the limits, or not at all; `passing` if another time it might."""

    reason: str
    passing: bool = False


class Pictures:
    """A few warm children, each decoding one image at a time; requests wait for a free one.

    `memory` in bytes per child; `cpu` and `wall` for one image; `nice` as the kernel has it. Nothing here
    raises because of an image. An async context manager: no child outlives it.
    """

    def __init__(
        self,
        *,
        children: int = 2,
        memory: int = _MEMORY,
        cpu: timedelta = _CPU,
        wall: timedelta = _WALL,
        nice: int = _NICE,
    ) -> None:
        self._count = children
        self._limits = (memory, cpu.total_seconds(), wall.total_seconds(), nice)
        # The child ends itself in time; half as much again, and it cannot any more.
        self._patience = 1.5 * wall.total_seconds()
        self._free = asyncio.Semaphore(children)
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._ending: set[asyncio.Task[int]] = set()

    async def __aenter__(self) -> Self:
        with suppress(OSError):  # then they are started when they are needed
            for _ in range(self._count):
                self._idle.append(await self._start())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in (*self._idle, *self._busy):
            self._end(child)
        self._idle.clear()
        await asyncio.gather(*self._ending)

    async def inspect(self, data: bytes) -> Size | Broken:
        """Read an image's width and height from its header; nothing is decoded."""
        return _size(await self._ask(b"I", 0, data))

    async def decode(self, data: bytes, *, most: int, whole: bool) -> Size | Broken:
        """Decode an image, all of its pixels; or tell its size only, if it has more than `most` of them.

        With `whole`, a file that lacks its end, or whose checksums are wrong, is `Broken` though all
        pixels are there.
        """
        return _size(await self._ask(b"W" if whole else b"D", most, data))

    async def thumbnail(self, data: bytes, *, side: int = 512) -> bytes | Broken:
        """Make a JPEG of quality 80, upright and without metadata, at most `side` pixels long."""
        return await self._ask(b"T", side, data)

    async def converted(self, data: bytes, kind: Converted, quality: int) -> bytes | Broken:
        """Write a picture as PNG, or as WebP of this quality (0 to 100); its metadata is left behind."""
        what = b"P" if kind == "png" else b"V"
        return await self._ask(what, quality, data, most=_CONVERTED_MAX)

    async def _ask(
        self, what: bytes, number: int, data: bytes, *, most: int = ANSWER_MAX
    ) -> bytes | Broken:
        async with self._free:
            try:
                child = await self._take()
            except OSError as error:
                return Broken(f"no decoder could be started: {error}", passing=True)
            self._busy.add(child)
            try:
                async with asyncio.timeout(self._patience):
                    answer = await child.ask(what, number, data, most)
            except TimeoutError:
                self._end(child)
                return Broken("the decoder did not answer in time", passing=True)
            except (OSError, EOFError):
                return self._epitaph(await self._end(child, dead=True))
            except ValueError as error:
                self._end(child)
                return Broken(str(error))
            except BaseException:  # canceled: the child's next answer would be to this request
                self._end(child)
                raise
            self._busy.discard(child)
            self._idle.append(child)
            return answer

    def _epitaph(self, status: int) -> Broken:
        if status == -signal.SIGXCPU:
            return Broken(f"it takes more than {self._limits[1]:g} s to decode")
        if status == _OUT_OF_MEMORY:
            return Broken("it takes more memory to decode than a picture may have")
        return Broken(f"the decoder ended with {status}", passing=True)

    async def _take(self) -> "_Child":
        while self._idle:
            child = self._idle.pop()
            if child.lives:
                return child
            self._end(child, dead=True)
        return await self._start()

    async def _start(self) -> "_Child":
        return await _Child.start(*map(str, self._limits))

    def _end(self, child: "_Child", *, dead: bool = False) -> "asyncio.Task[int]":
        self._busy.discard(child)
        ending = asyncio.create_task(child.end(dead=dead))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending


def _size(answer: bytes | Broken) -> Size | Broken:
    if isinstance(answer, Broken):
        return answer
    return Size(*_SIZE.unpack(answer)) if len(answer) == _SIZE.size else Broken("no size")


class _Child:
    """One decoding process and the two pipes to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        requests: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self._requests = requests
        self._answers = answers

    @classmethod
    async def start(cls, *limits: str) -> "_Child":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-s", "-m", _CHILD, *limits),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # decoders print what images tell them to
            env={"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},  # no secret
            cwd="/",
            start_new_session=True,  # a Ctrl-C in the terminal is for the worker, which finishes
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("asked for pipes and got none")
        return cls(process, process.stdin, process.stdout)

    @property
    def lives(self) -> bool:
        return self._process.returncode is None and not self._answers.at_eof()

    async def ask(self, what: bytes, number: int, data: bytes, most: int) -> bytes | Broken:
        """Send one request, wait for its answer. Raises `OSError`, `EOFError` when it dies.

        `ValueError` when the answer is none, or has more than `most` bytes: then the child is not ours
        any more.
        """
        self._requests.write(struct.pack(">cII", what, number, len(data)))
        self._requests.write(data)
        await self._requests.drain()
        status, length = struct.unpack(">cI", await self._answers.readexactly(5))
        if length > most:
            raise ValueError(f"the decoder answered with {length} bytes")
        body = await self._answers.readexactly(length)
        return body if status == b"O" else Broken(body.decode(errors="replace"))

    async def end(self, *, dead: bool) -> int:
        """Kill it unless it is `dead` already; returns its exit status: a signal is negative.

        A dead one gets a moment first: `kill` would reap it behind the back of asyncio's watcher,
        which then knows no status.
        """
        self._requests.close()
        if dead:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_BREATH.total_seconds()):
                    return await self._process.wait()
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()
