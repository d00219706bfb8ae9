"""Reads of the marts while they are swapped: each sees one file whole, never an older one than the last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import duckdb
import pytest
from polling import wait_until

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ServingError
from rtap_assets.runtime.files import put_in_place
from rtap_assets.serving.marts_reader import MartsReader

SWAPS, READERS, ROWS = 60, 8, 500


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def publish(settings: Settings, number: int) -> None:
    """Swap in a file whose table says the number in each row."""
    path = settings.marts_path
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name("building")
    building.unlink(missing_ok=True)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{building}' AS building")
        connection.execute(f"CREATE TABLE building.marks AS SELECT {number} AS number FROM range({ROWS})")
        connection.execute("DETACH building")
    put_in_place(building, path)


def test_each_read_sees_one_file_whole_and_none_goes_back(settings: Settings) -> None:
    publish(settings, 0)
    reader, over = MartsReader(settings), Event()

    def read() -> int:
        last, reads = 0, 0
        while not over.is_set():
            ((low, high, count),) = reader.rows("SELECT min(number), max(number), count(*) FROM marks")
            assert (low, count) == (high, ROWS)
            assert low >= last
            last, reads = low, reads + 1
        return reads

    with ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(read) for _ in range(READERS)]
        for number in range(1, SWAPS + 1):
            publish(settings, number)
        wait_until(lambda: reader.rows("SELECT max(number) FROM marks") == [(SWAPS,)], seconds=60, what="the last file")
        over.set()
        assert all(one.result() > 0 for one in readers)


def test_the_identity_is_that_of_the_file(settings: Settings) -> None:
    reader = MartsReader(settings)
    assert reader.identity() == ""
    publish(settings, 1)
    first = reader.identity()
    assert first == reader.identity() != ""
    publish(settings, 1)
    assert reader.identity() != first


def test_marts_that_are_not_there_or_no_marts_are_an_error_and_recovered_from(settings: Settings) -> None:
    reader = MartsReader(settings)
    with pytest.raises(ServingError, match="no marts yet"):
        reader.rows("SELECT 1")
    settings.marts_path.parent.mkdir(parents=True)
    settings.marts_path.write_bytes(b"not a database")
    with pytest.raises(ServingError, match="cannot be opened"):
        reader.rows("SELECT 1")
    settings.marts_path.unlink()
    publish(settings, 7)
    assert reader.rows("SELECT DISTINCT number FROM marks") == [(7,)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE marks_2 AS SELECT 1", "DELETE FROM marks", "FROM read_csv('/etc/passwd')", "ATTACH 'other.duckdb'",
        "COPY marks TO 'out.csv'", "SET threads = 4", "INSTALL httpfs",
    ],
)  # fmt: skip
def test_nothing_but_the_marts_can_be_read_and_nothing_written(settings: Settings, statement: str) -> None:
    publish(settings, 1)
    reader = MartsReader(settings)
    with pytest.raises(ServingError):
        reader.rows(statement)
    assert reader.rows("SELECT count(*) FROM marks") == [(ROWS,)]


def test_times_come_in_utc(settings: Settings) -> None:
    publish(settings, 1)
    assert MartsReader(settings).rows("SELECT to_timestamp(0)") == [(datetime(1970, 1, 1, tzinfo=UTC),)]
