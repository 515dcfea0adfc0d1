"""Files of rows as people send them: each mistake is named by row, column and value, with a way out."""

import csv
import gzip
import io
import json
import zipfile
from datetime import UTC, datetime

import pytest

from api.batching.formats import Kind
from api.batching.judging import judge
from api.batching.terms import Report, Terms
from models.errors import InvalidRequest, MalformedBody
from models.provider import catalog
from models.provider.rates import Known, Variant

MODEL = catalog.models()[0].id
NANO = "google/nano-banana-pro"
PRICE = 91_000
HEAD = b"custom_id,prompt,image_size,seed\n"
Line = dict[str, object]


def judged(
    body: bytes, kind: Kind = "csv", max_cost: int | None = None, nano: Known | None = None
) -> tuple[Report, list[Line]]:
    """Judge a body; returns the report, and the rows that were written down."""
    terms = Terms(
        kind=kind,
        defaults={"input": {"model": MODEL}} if kind == "csv" else {},
        prices={MODEL: Known(PRICE)} | ({} if nano is None else {NANO: nano}),
        opened=(),
        ports=frozenset({443}),
        now=datetime.now(UTC),
        max_cost=max_cost,
    )
    out = io.BytesIO()
    *_, report = judge(io.BytesIO(body), terms, out)
    return report, [json.loads(line) for line in out.getvalue().splitlines()]


def prompts(body: bytes) -> list[object]:
    report, lines = judged(body)
    assert report.errors == []
    return [line["input"]["prompt"] for line in lines]  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfcustom_id,prompt\na,A fox\n",
        b"custom_id,prompt\r\na,A fox\r\n",
        b"custom_id,prompt\ra,A fox\r",
        b"custom_id,prompt\na,A fox",
        b"custom_id;prompt\na;A fox\n",
        b"custom_id\tprompt\na\tA fox\n",
        b"custom_id, prompt \na,A fox\n",
        b"custom_id,prompt,,\na,A fox,,\n",
        b"custom_id,prompt\na,A fox,,\n",
        b'"custom_id","prompt"\n"a","A fox"\n\n,\n\r\n',
    ],
)
def test_a_table_is_read_however_it_was_saved(body: bytes) -> None:
    assert prompts(body) == ["A fox"]


def test_texts_in_quotes_keep_their_commas_quotes_and_line_breaks() -> None:
    text = 'A fox; "red", on\r\nwhite'
    for delimiter in ",;\t":
        told = io.StringIO()
        csv.writer(told, delimiter=delimiter).writerows([("prompt", "custom_id"), (text, "a")])
        assert prompts(told.getvalue().encode()) == [text]


def test_sizes_are_read_as_people_write_them() -> None:
    rows = b"\n".join(
        f"A fox,{size}".encode()
        for size in ("2048x2048", "2048 X 2048", "2048×2048", "2K")  # noqa: RUF001
    )
    _, lines = judged(b"prompt,image_size\n" + rows)
    pixels = {"width": 2048, "height": 2048}
    assert [line["input"]["image_size"] for line in lines] == [pixels, pixels, pixels, "2K"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("cells", "pointer", "said"),
    [
        (b'x,A fox,2K,"1,000"', "/input/seed", '"1,000" is not a whole number'),
        (b"x,A fox,2K,1.5", "/input/seed", '"1.5" is not a whole number'),
        (b"x,A fox,3K,", "/input/image_size", '"3K" is not a size; use "2K"'),
        (b"x,A fox,1440x1440,", "/input/image_size", "1440x1440 is 2,073,600 pixels"),
        (b"x,,2K,7", "/input/prompt", "prompt is required; add it"),
        (b"x,  ,2K,7", "/input/prompt", "is blank; say what the image shows"),
        (b"x,A\x00fox,2K,7", "/input/prompt", "the prompt has NUL"),
        (b"a\x00b,A fox,2K,7", "/custom_id", "it has a NUL"),
        (b"x" * 129 + b",A fox,2K,7", "/custom_id", "at most 128 characters"),
        (b"x,A caf\xe9,2K,7", "column:prompt", "is not UTF-8, see its byte 0xe9; save the file as"),
        (b"x,A fox", "", 'begins with "x" and has 2 cells for 4 columns: put quotes around'),
        (b"on white,2K,7,8,9", "", 'begins with "on white" and has 5 cells for 4 columns'),
        (b"x,A" + b"y" * 33_000 + b",2K,7", "/input/prompt", "at most 32,768 are taken"),
        (b"first,A fox,2K,7", "/custom_id", '"first" is the name of row 1 already'),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_with_its_column_its_value_and_what_to_do(
    cells: bytes, pointer: str, said: str
) -> None:
    report, lines = judged(HEAD + b"first,A hare,2K,1\n\n" + cells + b"\nlast,A stork,2K,2\n")
    (error,) = report.errors
    assert (error.row, error.pointer) == (3, pointer), (
        "blank rows count, as a spreadsheet counts them"
    )
    assert said in error.message
    assert [line["custom_id"] for line in lines] == ["first", "last"]


def test_all_that_is_wrong_with_a_row_is_said_at_once() -> None:
    body = HEAD + b"a,,2K,1\na,,5K,x\n"
    report, _ = judged(body)
    assert [(each.row, each.pointer) for each in report.errors] == [
        (1, "/input/prompt"),
        (2, "/custom_id"), (2, "/input/prompt"), (2, "/input/seed"), (2, "/input/image_size"),
    ]  # fmt: skip


def test_the_name_of_a_row_without_one_is_its_number() -> None:
    report, lines = judged(b"custom_id,prompt\n,A fox\n1,A hare\n,A stork\n")
    assert [line["custom_id"] for line in lines] == ["1", "3"]
    assert '"1" is the name of row 1 already' in report.errors[0].message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the first line names the columns, and there is none"),
        (b"\n\n", "the first line names the columns, and there is none"),
        (HEAD, "there are no rows"),
        (HEAD + b"\n,,,\n\r\n", "there are no rows"),
        (b"prompt,prompt\na,b\n", '"prompt" stands there twice; keep one'),
        (b"Prompt,size\nA fox,2K\n", 'there is no column "Prompt"; the columns are custom_id,'),
        (b"prompt,metadata.\nA fox,b\n", 'there is no column "metadata."'),
        (b"prompt,metadata.caf\xe9\nA fox,b\n", "there is no column"),
        (b"bike-1,A red bicycle,2K\n", 'there is no column "bike-1"'),
        (HEAD + b'a,"A "red" fox",2K,7\n', "the row that begins in line 2 cannot be read"),
        (HEAD + b'a,b,2K,7\na,"A fox,2K,7\n', "the row that begins in line 3 cannot be read"),
        (HEAD + b"a," + b"x" * (1 << 20) + b"y,2K,7\n", "the row that begins in line 2 cannot"),
        (gzip.compress(HEAD, mtime=0), "compressed by gzip; send it as it was before"),
        ("custom_id,prompt\n".encode("utf-16"), "UTF-16; save it as"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        judged(body)
    assert said in refused.value.detail
    assert any(said in each.message for each in refused.value.errors)


def test_a_workbook_is_told_from_a_table() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as book:
        book.writestr("[Content_Types].xml", "<Types/>")
    with pytest.raises(InvalidRequest, match=r'an Excel workbook .* save it as "CSV UTF-8"'):
        judged(made.getvalue())


def test_what_was_wrong_before_a_broken_row_is_told_too() -> None:
    with pytest.raises(InvalidRequest) as refused:
        judged(HEAD + b'a,,2K,7\nb,"A "fox"",2K,7\n')
    assert [each.row for each in refused.value.errors] == [1, 2]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"custom_id": "x"', "The row is not valid JSON"),
        (b'{"input": {}, "input": {}}', '"input" stands twice in its object'),
        (b"7", "7 is no row; send an object"),
        (b'"\xe9"', "The row is not UTF-8: see its byte 1"),
        (b'{"input": {"model": "' + MODEL.encode() + b'", "promt": "A fox"}}', 'there is no field "promt"'),
        (b'{"custom_id": "\\ud800", "input": {}}', "half of a surrogate pair"),
        (b'"' + b"x" * (1 << 20) + b'"', "the line has more than 1,048,576 bytes"),
    ],
)  # fmt: skip
def test_a_bad_line_of_ndjson_is_named(line: bytes, said: str) -> None:
    good = json.dumps({"input": {"model": MODEL, "prompt": "A fox"}}).encode()
    report, lines = judged(b"\xef\xbb\xbf" + good + b"\r\n\n" + line + b"\n" + good, "ndjson")
    assert {each.row for each in report.errors} == {3}
    assert any(said in each.message for each in report.errors), report.errors
    json.dumps([each.told for each in report.errors], ensure_ascii=False).encode()
    assert [line["row"] for line in lines] == [1, 4]


@pytest.mark.parametrize(
    "body",
    [b'{"items": [{}],}', b'{"items": [{},]}', b'{"items": [{}]} x', b'{"items": [{}}', b"{"],
)
def test_json_is_read_to_the_letter(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        judged(body, "json")


def test_each_row_holds_the_price_of_its_own_variant() -> None:
    variants = tuple(
        Variant({"resolution": name}, price) for name, price in (("1K", 100_000), ("4K", 400_000))
    )
    known = Known(400_000, variants=variants)
    items = [
        {"input": {"model": NANO, "prompt": "A fox", **more}}
        for more in ({"resolution": "1K"}, {"resolution": "4K"}, {})
    ]
    body = json.dumps({"items": items}).encode()
    report, lines = judged(body, "json", nano=known)
    assert [line["held"] for line in lines] == [100_000, 400_000, 400_000]
    assert (report.estimated, report.held) == (900_000, {None: 900_000})
    assert [line["max_cost"] for line in lines] == [200_000, 800_000, 800_000]
    report, lines = judged(body, "json", 450_000, known)
    assert [line["held"] for line in lines] == [100_000, 0, 0], "no later row overtakes"
