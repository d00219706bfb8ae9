"""`rtap sql` and `rtap marts`: their formats, their notes, and failures without a stack trace."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from lake_fixtures import NOON, bronze_row, gold_row, make_lake

from rtap_assets.cli import cli, main
from rtap_assets.config import Settings, get_settings, settings_environment


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("RTAP_STATE_DIR", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def run(*arguments: str, stdin: str | None = None) -> tuple[str, str]:
    result = CliRunner().invoke(cli, arguments, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_marts_refresh_prints_the_rows_and_publishes(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(1)], gold=[gold_row(NOON)], watermark=NOON)
    output, _ = run("marts", "refresh")
    assert "rolling_revenue" in output
    assert "2026-03-01 12:00:00+00:00" in output
    assert "1 rows in 1 files, 1 of them new" in output
    assert "no data yet         silver" in output
    assert (settings.export_dir / "current").is_symlink()


def test_sql_prints_a_table_with_a_note_when_it_is_cut(settings: Settings) -> None:
    output, note = run("sql", "SELECT n, n > 1 AS b, NULL AS nothing FROM range(3) t(n)", "--max-rows", "2")
    assert [line.split() for line in output.splitlines() if "false" in line] == [
        ["│", "0", "│", "false", "│", "NULL", "│"],
        ["│", "1", "│", "false", "│", "NULL", "│"],
    ]
    assert "Only the first 2 rows are shown" in note


def test_sql_prints_json_with_decimals_as_text_from_a_statement_on_stdin(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON)], bronze=[bronze_row(1)])
    output, note = run(
        "sql", "-", "--format", "json", stdin="SELECT window_start, net_amount, orders, revision IS NULL AS b FROM gold"
    )
    assert json.loads(output) == [
        {"window_start": "2026-03-01 12:00:00+00:00", "net_amount": "10.0000", "orders": 1, "b": False}
    ]
    assert note == ""
    headers, _ = run("sql", "SELECT raw_key, kafka_headers FROM bronze", "--format", "json")
    assert json.loads(headers) == [{"raw_key": b"account-1".hex(), "kafka_headers": [{"key": "trace", "value": "31"}]}]


def test_a_query_ends_at_its_deadline_also_in_a_function_that_cannot_be_interrupted(settings: Settings) -> None:
    stuck = "SELECT length(regexp_replace(repeat('ab', 100000000), '(a|b)', 'xyz', 'g'))"
    for statement in ("SELECT sum(a.range) FROM range(1000000000000) a", stuck):
        done = subprocess.run(
            [sys.executable, "-m", "rtap_assets.cli", "sql", "--timeout", "0.5", statement],
            env=os.environ | settings_environment(settings), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "The query was ended after 0.5 s, its deadline." in done.stderr
        assert "Traceback" not in done.stderr


def test_sql_prints_csv_that_reads_back(settings: Settings) -> None:
    output, _ = run("sql", "SELECT 'a,\"b\"' AS text, 1.50 AS amount, NULL AS nothing", "--format", "csv")
    assert list(csv.reader(io.StringIO(output))) == [["text", "amount", "nothing"], ['a,"b"', "1.50", ""]]


def test_sql_ends_with_a_message_and_no_stack_trace(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rtap", "sql", "FROM nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert "Table with name nowhere does not exist" in shown
    assert "Tables: bronze, silver, gold" in shown
    assert "Traceback" not in shown
