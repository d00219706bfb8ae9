"""Results as text: columns left out of narrow terminals, few wide rows one value per line, order and limits kept."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from rtap_assets.errors import ServingError
from rtap_assets.serving.box import VERTICAL_ROWS, render_query

WIDE = ", ".join(f"'value {number}' AS column_{number}" for number in range(12))


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET lock_configuration = true")
        yield connection


def longest(text: str) -> int:
    return max(len(line) for line in text.splitlines())


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(connection: duckdb.DuckDBPyConnection, width: int) -> None:
    shown = render_query(connection, f"SELECT {WIDE} FROM range(9)", max_rows=100, width=width)
    assert longest(shown.text) <= width
    assert shown.text.count("value 0") == 9
    assert ("shown)" in shown.text) == (longest(render_query(connection, f"SELECT {WIDE}", max_rows=1).text) > width)


def test_a_value_wider_than_the_terminal_is_cut_or_shown_on_a_line_of_its_own(connection: duckdb.DuckDBPyConnection) -> None:
    long = "SELECT n, repeat('long ', 100) AS text FROM range(9) t(n)"
    assert longest(render_query(connection, long, max_rows=100, width=80).text) <= 80


def test_few_rows_that_are_too_wide_are_shown_one_value_a_line(connection: duckdb.DuckDBPyConnection) -> None:
    shown = render_query(
        connection, f'SELECT {WIDE}, NULL AS "odd ""name" FROM range({VERTICAL_ROWS})', max_rows=9, width=80
    )
    lines = shown.text.splitlines()
    assert lines[0] == " column_0 = value 0"
    assert lines[12] == 'odd "name = NULL'
    assert lines.count("") == VERTICAL_ROWS - 1


def test_without_a_width_nothing_is_left_out(connection: duckdb.DuckDBPyConnection) -> None:
    shown = render_query(connection, f"SELECT {WIDE}, repeat('x', 500) AS long FROM range(30)", max_rows=0)
    assert all(f"column_{number}" in shown.text for number in range(12))
    assert shown.text.count("x" * 500) == 30


def test_a_result_that_is_cut_says_so_and_keeps_its_order(connection: duckdb.DuckDBPyConnection) -> None:
    shown = render_query(connection, "SELECT n FROM range(50000) t(n) ORDER BY n DESC", max_rows=5, width=80)
    assert shown.is_truncated
    assert [int(line.strip("│ ")) for line in shown.text.splitlines()[4:-1] if "│" in line] == [
        49999,
        49998,
        49997,
        49996,
        49995,
    ]


def test_a_result_that_fits_is_not_cut(connection: duckdb.DuckDBPyConnection) -> None:
    assert not render_query(connection, "SELECT 1", max_rows=1).is_truncated
    empty = render_query(connection, "SELECT 1 AS a WHERE false;", max_rows=5, width=80)
    assert "0 rows" in empty.text


def test_columns_of_one_name_and_a_trailing_comment_are_shown(connection: duckdb.DuckDBPyConnection) -> None:
    assert "│   a   │  a_1  │" in render_query(connection, "SELECT 1 AS a, 2 AS a -- twice", max_rows=5).text


def test_a_plan_is_shown_as_duckdb_draws_it(connection: duckdb.DuckDBPyConnection) -> None:
    assert "Projection" in render_query(connection, "EXPLAIN SELECT 1 + range FROM range(3)", max_rows=5, width=80).text


@pytest.mark.parametrize("statement", ["DROP TABLE x", "SELECT 1; SELECT 2", "COPY (SELECT 1) TO 'x'", "FROM nowhere"])
def test_only_a_query_is_run(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    with pytest.raises(ServingError):
        render_query(connection, statement, max_rows=5)
