"""What is asked meanwhile is one question, and nobody is answered with what was read before they asked."""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

import pytest

from models.errors import Unavailable
from models.platform import together
from models.platform.together import Lines, Together


class _Source:
    """Answers with how often it was asked, once the test lets it."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []
        self.answering = asyncio.Event()
        self.refusal: BaseException | None = None

    async def find(self, asked: Sequence[str]) -> Mapping[str, int]:
        self.questions.append(list(asked))
        number, refusal = len(self.questions), self.refusal
        await self.answering.wait()
        if refusal is not None:
            raise refusal
        return {each: number for each in asked if each != "absent"}


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_asked_meanwhile_is_the_next_question() -> None:
    source = _Source()
    asking = Together(source.find, most=10)
    first = asyncio.create_task(asking.find("a"))
    await _settle()
    assert source.questions == [["a"]]  # alone, it has gone out at once
    later = [asyncio.create_task(asking.find(each)) for each in ("b", "c", "absent", "b")]
    await _settle()
    source.answering.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2, 2, None, 2]
    assert source.questions == [["a"], ["b", "c", "absent"]]


async def test_nobody_is_answered_with_what_was_read_before_they_asked() -> None:
    source = _Source()
    asking = Together(source.find, most=10)
    first = asyncio.create_task(asking.find("a"))
    await _settle()
    second = asyncio.create_task(asking.find("a"))
    await _settle()
    source.answering.set()
    assert [await first, await second] == [1, 2]


async def test_where_it_may_be_older_who_asks_the_same_joins_what_is_under_way() -> None:
    source = _Source()
    asking = Together(source.find, most=10, joining=True)
    asked = [asyncio.create_task(asking.find("a"))]
    await _settle()
    asked += [asyncio.create_task(asking.find(each)) for each in "ab"]
    await _settle()
    source.answering.set()
    assert await asyncio.gather(*asked) == [1, 1, 2]
    assert await asking.find("a") == 3


async def test_no_question_is_of_more_than_it_may_be() -> None:
    source = _Source()
    source.answering.set()
    asking = Together(source.find, most=2)
    await asyncio.gather(*(asking.find(each) for each in "abcde"))
    assert source.questions == [["a", "b"], ["c", "d"], ["e"]]


async def test_who_leaves_takes_no_other_along() -> None:
    source = _Source()
    asking = Together(source.find, most=10)
    asked = [asyncio.create_task(asking.find(each)) for each in "aab"]
    await _settle()
    asked[0].cancel()
    await _settle()
    source.answering.set()
    assert [await asked[1], await asked[2]] == [1, 1]
    assert await asking.find("c") == 2


async def test_a_question_that_fails_fails_for_those_who_asked_it_alone() -> None:
    source = _Source()
    source.refusal = Unavailable("The database is away.")
    asking = Together(source.find, most=10)
    first = [asyncio.create_task(asking.find(each)) for each in "ab"]
    await _settle()
    source.refusal = None
    second = asyncio.create_task(asking.find("c"))
    await _settle()
    source.answering.set()
    for each in first:
        with pytest.raises(Unavailable):
            await each
    assert await second == 2


@pytest.mark.parametrize(
    ("refusal", "questions"),
    [
        (Unavailable("The database is away."), [["a"]]),
        (ValueError("it is the first's alone"), [["a"], ["b"], ["c"]]),
    ],
)
async def test_who_has_waited_long_while_the_database_is_away_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception, questions: list[list[str]]
) -> None:
    source = _Source()
    source.refusal = refusal
    asking = Together(source.find, most=1)
    asked = [asyncio.create_task(asking.find(each)) for each in "abc"]
    await _settle()
    monkeypatch.setattr(together, "_PATIENCE", -1.0)
    source.answering.set()
    for each in asked:
        with pytest.raises(type(refusal)):
            await each
    assert source.questions == questions


async def test_a_question_is_not_the_first_askers_alone() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    asked_by = list[str]()

    async def find(asked: Sequence[str]) -> Mapping[str, int]:
        asked_by.append(who.get())
        return dict.fromkeys(asked, 1)

    who.set("the first")
    assert await Together(find, most=10).find("a") == 1
    assert asked_by == ["nobody"]


async def test_its_end_is_told_to_those_who_wait() -> None:
    source = _Source()
    source.refusal = asyncio.CancelledError()
    asking = Together(source.find, most=10)
    first = asyncio.create_task(asking.find("a"))
    await _settle()
    source.answering.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.refusal = None
    assert await asking.find("b") == 2


async def test_a_question_that_takes_long_holds_up_nobody_who_came_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "_SLOW", 0.02)
    stuck, source = _Source(), _Source()
    source.answering.set()

    async def find(asked: Sequence[str]) -> Mapping[str, int]:
        return await (stuck if "stuck" in asked else source).find(asked)

    asking = Together(find, most=10, joining=True)
    first = asyncio.create_task(asking.find("stuck"))
    await _settle()
    async with asyncio.timeout(1):
        assert await asking.find("a") == 1, "it waited already"
        assert await asking.find("b") == 2, "it came when nobody waited"
    assert not first.done()
    stuck.answering.set()
    assert await first == 1
    assert await asking.find("c") == 3


async def test_of_those_that_take_long_there_are_only_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "_SLOW", 0.01)
    source = _Source()
    asking = Together(source.find, most=1)
    asked = [asyncio.create_task(asking.find(each)) for each in "abcde"]
    await asyncio.sleep(0.2)
    assert source.questions == [["a"], ["b"], ["c"]]
    source.answering.set()
    assert await asyncio.gather(*asked) == [1, 2, 3, 4, 5]


async def test_what_has_one_name_is_asked_together_and_waits_for_no_other() -> None:
    sources = {"a": _Source(), "b": _Source()}
    lines: Lines[str, str, int] = Lines(lambda name, asked: sources[name].find(asked), most=10)
    asking = [asyncio.create_task(lines.find("a", each)) for each in "123"]
    await _settle()
    sources["b"].answering.set()
    assert await lines.find("b", "1") == 1
    assert not any(each.done() for each in asking)
    sources["a"].answering.set()
    await asyncio.gather(*asking)
    assert sources["a"].questions == [["1", "2", "3"]]
    assert sources["b"].questions == [["1"]]


async def test_a_line_is_gone_when_nobody_stands_in_it() -> None:
    source = _Source()
    lines: Lines[str, str, int] = Lines(lambda _, asked: source.find(asked), most=10)
    asking = asyncio.create_task(lines.find("a", "1"))
    await _settle()
    assert len(lines._lines) == 1  # noqa: SLF001 - nobody else asks
    source.answering.set()
    await asking
    await _settle()
    gc.collect()
    assert not len(lines._lines)  # noqa: SLF001 - the same
