"""The forms in which rows leave the API, which of them an Accept header gets, and answers that are kept."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from rtap_assets.dashboard.representation import ARROW, CSV, JSON, Answer, KeptAnswers, Rows, chosen_type, written
from rtap_assets.errors import ServingError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = Rows(
    ("at", "net", "orders", "name", "flag", "nothing"),
    ("TIMESTAMP WITH TIME ZONE", "DECIMAL(28,4)", "BIGINT", "VARCHAR", "BOOLEAN", "VARCHAR"),
    [(NOON, Decimal("12345678901234567890.1000"), 3, 'a "quoted",\nname', True, None)],
    as_of="then",
)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", JSON), ("*/*", JSON), ("text/csv", CSV), ("text/*", CSV), (ARROW, ARROW),
        ("text/csv;q=0.9, application/json", JSON),
        ("application/json;q=0.2, text/csv;q=0.9", CSV), ("text/html, */*;q=0.1", JSON), ("application/json;q=0, */*", CSV),
        ("image/png", None), ("text/csv;q=0", None), ("text/csv;q=abc", None), ("APPLICATION/JSON", JSON),
    ],
)  # fmt: skip
def test_the_accept_header_chooses(accept: str, kind: str | None) -> None:
    assert chosen_type(accept) == kind


def test_json_keeps_every_digit_of_a_decimal() -> None:
    (row,) = json.loads(written(ROWS, JSON))["rows"]
    assert row == {
        "at": "2026-03-01T12:00:00Z", "net": "12345678901234567890.1000", "orders": 3, "name": 'a "quoted",\nname',
        "flag": True, "nothing": None,
    }  # fmt: skip


def test_csv_quotes_what_would_break_a_line() -> None:
    assert written(ROWS, CSV).decode() == (
        'at,net,orders,name,flag,nothing\r\n2026-03-01T12:00:00Z,12345678901234567890.1000,3,"a ""quoted"",\nname",true,\r\n'
    )


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1+1", '=HYPERLINK("http://evil.example")']
)
def test_no_text_in_csv_is_a_formula_and_every_amount_is_as_it_was(text: str) -> None:
    rows = Rows(("detail", "net"), ("VARCHAR", "DECIMAL(18,4)"), [(text, Decimal("-1.5000")), ("a=1", None)])
    _, first, second = csv.reader(io.StringIO(written(rows, CSV).decode(), newline=""))
    assert (first, second) == ([f"'{text}", "-1.5000"], ["a=1", ""])
    assert json.loads(written(rows, JSON))["rows"][0]["detail"] == text, "for programs it stays as it is"


@pytest.mark.parametrize("rows", [ROWS.rows, []])
def test_arrow_has_the_same_types_whatever_the_rows(rows: list[tuple[object, ...]]) -> None:
    table = pa.ipc.open_stream(io.BytesIO(written(Rows(ROWS.columns, ROWS.types, rows), ARROW))).read_all()
    assert [str(field.type) for field in table.schema] == [
        "timestamp[us, tz=UTC]", "decimal128(28, 4)", "int64", "string", "bool", "string",
    ]  # fmt: skip
    assert table.to_pylist() == [dict(zip(ROWS.columns, row, strict=True)) for row in rows]


def making(found: list[str], answer: Answer) -> Callable[[], Coroutine[Any, Any, Answer]]:
    async def make() -> Answer:
        found.append(answer.identity)
        await asyncio.sleep(0)
        return answer

    return make


def test_equal_requests_at_once_and_later_are_made_once() -> None:
    async def run() -> None:
        kept, made = KeptAnswers(), list[str]()
        answers = await asyncio.gather(*(kept.get("a", "q", making(made, Answer("a", b"1"))) for _ in range(20)))
        answers.append(await kept.get("a", "q", making(made, Answer("a", b"2"))))
        assert ({one.body for one in answers}, made) == ({b"1"}, ["a"])

    asyncio.run(run())


def test_another_snapshot_and_another_request_have_answers_of_their_own() -> None:
    async def run() -> None:
        kept, made = KeptAnswers(), list[str]()
        for identity, request in (("a", "q"), ("b", "q"), ("b", "r"), ("b", "q")):
            answer = Answer(identity, f"{identity}{request}".encode())
            assert (await kept.get(identity, request, making(made, answer))).body == answer.body
        assert made == ["a", "b", "b"]

    asyncio.run(run())


def test_an_answer_of_a_newer_snapshot_is_not_kept_as_the_older_ones() -> None:
    async def run() -> None:
        kept, made = KeptAnswers(), list[str]()
        await kept.get("a", "q", making(made, Answer("b", b"new")))
        await kept.get("b", "q", making(made, Answer("b", b"never made")))
        assert (await kept.get("a", "q", making(made, Answer("a", b"old")))).body == b"old"
        assert made == ["b", "a"]

    asyncio.run(run())


@pytest.mark.parametrize(("most_answers", "most_bytes"), [(3, 1_000), (100, 30)])
def test_answers_are_bounded_and_the_least_recently_used_leaves(most_answers: int, most_bytes: int) -> None:
    async def run() -> None:
        kept, made = KeptAnswers(most_answers, most_bytes), list[str]()
        for request in ("q", "r", "s", "q", "t", "q", "r"):
            await kept.get("a", request, making(made, Answer("a", b"0123456789")))
        assert (len(made), kept.size) == (5, 30), "q stays, r left for t and is made again"
        await kept.get("a", "large", making(made, Answer("a", b"x" * 1_001)))
        assert kept.size == 30

    asyncio.run(run())


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    async def run() -> None:
        kept = KeptAnswers()

        async def fail() -> Answer:
            await asyncio.sleep(0)
            raise ServingError("no")

        found = await asyncio.gather(*(kept.get("a", "q", fail) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in found] == [ServingError] * 3
        assert (await kept.get("a", "q", making([], Answer("a", b"1")))).body == b"1"

    asyncio.run(run())


def test_one_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    async def run() -> None:
        kept, gate, made = KeptAnswers(), asyncio.Event(), list[str]()

        async def make() -> Answer:
            made.append("a")
            await gate.wait()
            return Answer("a", b"1")

        first = asyncio.create_task(kept.get("a", "q", make))
        second = asyncio.create_task(kept.get("a", "q", make))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert ((await second).body, made) == (b"1", ["a"])

    asyncio.run(run())
