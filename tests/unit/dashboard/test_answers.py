"""Answers that are kept: made once for equal requests, bounded, never of an older snapshot; many readers under swaps."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dashboard_stage import served, staged

from rtap_assets.config import Settings, load_settings
from rtap_assets.dashboard.answers import Answer, KeptAnswers
from rtap_assets.errors import ServingError
from rtap_assets.local.ports import free_port
from rtap_assets.runtime.files import put_in_place

READS, AT_ONCE, SWAPS = 1_000, 50, 20


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


def numbered_marts(settings: Settings, number: int) -> Path:
    """Return a copy of the marts whose refresh and every window carry a number."""
    copy = settings.marts_path.with_name(f"numbered-{number}")
    shutil.copyfile(settings.marts_path, copy)
    with duckdb.connect(str(copy)) as connection:
        connection.execute("UPDATE refresh SET refreshed_at = to_timestamp(?)", [number])
        connection.execute("UPDATE rolling_revenue SET revision = ?", [number])
    return copy


def test_1000_reads_with_50_at_once_and_20_swaps_are_each_of_one_refresh_and_none_goes_back(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path / ".rtap", dashboard_port=free_port())
    stage, _ = staged(settings, hours=0.25, restate=False)
    files = [numbered_marts(settings, number) for number in range(1, SWAPS + 2)]
    put_in_place(files[0], settings.marts_path)
    queries = ("limit=20", "limit=20&currency=EUR", "status=provisional&limit=5")

    def ask(connection: HTTPConnection, query: str) -> tuple[int, set[int]]:
        """Return the number of the refresh, and those of its rows."""
        connection.request("GET", f"/api/windows/rolling?{query}")
        response = connection.getresponse()
        body = json.loads(response.read())
        assert response.status == 200, body
        return int(body["as_of"][17:19]), {row["revision"] for row in body["rows"]}

    def read(first: int) -> int:
        newest = 0
        with closing(HTTPConnection("127.0.0.1", settings.dashboard_port, timeout=60)) as connection:
            for number in range(first, READS, AT_ONCE):
                of, rows = ask(connection, queries[number % 3])
                assert rows == {of}
                assert of >= newest
                newest = of
        return newest

    with (
        served(stage),
        ThreadPoolExecutor(AT_ONCE) as pool,
        closing(HTTPConnection("127.0.0.1", settings.dashboard_port, timeout=60)) as own,
    ):
        readers = [pool.submit(read, first) for first in range(AT_ONCE)]
        for number, file in enumerate(files[1:], start=2):
            put_in_place(file, settings.marts_path)
            assert ask(own, "limit=1") == (number, {number}), "the newest refresh is seen at once"
        assert all(one.result() >= 1 for one in readers)
