"""The look at dead letters: groups and records from bronze, as text that fits the terminal, whatever their bytes are."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from event_bytes import V1, body, event, framed
from lake_fixtures import NOON, bronze_row, make_lake

from rtap_assets.commands.dlq.group import dlq
from rtap_assets.commands.dlq.options import Instant
from rtap_assets.commands.dlq.view import groups_table, record_lines
from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.dead_letters import DeadLetter
from rtap_assets.contracts.selection import Selection
from rtap_assets.errors import ServingError
from rtap_assets.runtime.terminal import text_width
from rtap_assets.serving.dead_letters import count_dead_letters, read_dead_letters


def quarantined(offset: int, reason: str, **columns: Any) -> dict[str, Any]:
    return bronze_row(offset, error_reason=reason, **columns)


@pytest.fixture
def records(tmp_path: Path) -> Settings:
    settings = load_settings(state_dir=tmp_path / ".rtap")
    again = [{"key": "rtap.redrive.attempt", "value": b"1"}]
    rows = [
        bronze_row(0),
        quarantined(1, "null_key", raw_key=None, schema_id=7),
        quarantined(2, "null_key", raw_key=b"", schema_id=8),
        quarantined(3, "bad_magic", kafka_timestamp=NOON + timedelta(days=1), raw_key=b"a\xffb"),
        quarantined(4, "null_key", kafka_partition=1, schema_id=7, kafka_headers=again),
        quarantined(5, "null_key", kafka_timestamp=NOON + timedelta(hours=2), schema_id=7, kafka_headers=None),
    ]
    make_lake(settings, bronze=rows)
    return settings


def test_groups_are_by_day_or_hour_reason_and_schema_id(records: Settings) -> None:
    groups = count_dead_letters(records, Selection())
    assert [(one.period.day, one.reason, one.schema_id, one.records, one.redriven) for one in groups] == [
        (2, "bad_magic", None, 1, 0),
        (1, "null_key", 7, 3, 1),
        (1, "null_key", 8, 1, 0),
    ]
    hours = count_dead_letters(records, Selection(schema_ids=(7,)), period="hour")
    assert [(one.period.hour, one.records) for one in hours] == [(14, 1), (12, 2)]
    (only,) = count_dead_letters(records, Selection(offset_from=5, partition=0))
    assert only.redriven == 0  # a record without headers
    with pytest.raises(ServingError, match="cannot be grouped by week"):
        count_dead_letters(records, Selection(), period="week")


@pytest.mark.parametrize(
    "selection, offsets",
    [
        (Selection(), [1, 2, 4, 5, 3]),
        (Selection(limit=2), [1, 2]),
        (Selection(reasons=("bad_magic",)), [3]),
        (Selection(since=NOON + timedelta(hours=2)), [5, 3]),
        (Selection(until=NOON + timedelta(hours=2)), [1, 2, 4]),
        (Selection(key=""), [2]),
        (Selection(key="account-1"), [4, 5]),
        (Selection(key="' OR true --"), []),
        (Selection(partition=1), [4]),
        (Selection(partition=0, offset_from=2, offset_to=3), [2, 3]),
    ],
)
def test_records_are_selected_oldest_first(records: Settings, selection: Selection, offsets: list[int]) -> None:
    found = list(read_dead_letters(records, selection))
    assert [one.kafka_offset for one in found] == offsets


def test_a_record_keeps_its_bytes_and_headers(records: Settings) -> None:
    newest, *_ = read_dead_letters(records, Selection(), newest_first=True)
    assert (newest.identity, newest.key, newest.value) == ("sales.events.v1/0/3", b"a\xffb", b"\x00")
    assert (newest.headers, newest.kafka_timestamp) == ((("trace", b"1"),), NOON + timedelta(days=1))


def test_tables_fit_the_terminal_and_say_what_was_cut(records: Settings) -> None:
    lines = list(groups_table(count_dead_letters(records, Selection()), period="day", limit=2))
    assert max(map(len, lines)) <= text_width()
    assert lines[0].split() == ["day", "(UTC)", "reason", "schema", "id", "records", "redriven"]
    assert "… and 1 more groups with 1 records: --limit 0 shows all" in lines
    assert any(line.startswith("null_key: The record has no key") for line in lines)


@pytest.mark.parametrize(
    "value, expected",
    [
        (
            framed(7, body(event(currency="EURO"))),
            ["currency = EURO", "amount = 12.5000", "event_time = 2026-03-01T11:59:48.250Z"],
        ),
        (framed(7, body(event())[:40]), ["field event_time, byte 45", "(truncated)"]),
        (framed(9, b"abc"), ["not decoded: the registry has no schema 9"]),
        (b'{"a": "\x1b[31m\xff"}', ['as text: {"a": "\\x1b[31m\\xff"}']),
        (None, ["value: none"]),
        (b"", ["value: (0 bytes)"]),
    ],
)
def test_a_letter_is_shown_as_far_as_it_can_be_read(value: bytes | None, expected: list[str]) -> None:
    named = int.from_bytes(value[1:5], "big") if value and value[0] == 0 else None
    headers = (("h\n", b"\x9b2J" + b"x" * 999), ("n", None))
    record = DeadLetter("sales", 0, 3, NOON, named, "null_key", "why \x07", b"k\x1b]0;x", value, headers)
    lines = list(record_lines(record, {7: V1}.get, redriven="sent"))
    text = "\n".join(lines)
    assert all(part in text for part in expected), text
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= text_width()
    assert "header h\\x0a: \\x9b2J" in text


def test_a_schema_id_in_a_wider_header_or_in_a_header_is_found_as_bronze_found_it() -> None:
    for value in (b"\x00" + (7).to_bytes(8, "big") + body(event()), body(event())):
        record = DeadLetter("sales", 0, 3, NOON, 7, "null_key", "", None, value)
        text = "\n".join(record_lines(record, {7: V1}.get))
        assert "decoded with schema 7" in text
        assert "currency = EUR" in text


def test_every_command_explains_itself_and_its_units() -> None:
    help_text = CliRunner().invoke(dlq, ["redrive", "--help"]).output
    for name in ("--rate", "--max-attempts", "--reason", "--offset-from", "--no-verdict", "--yes"):
        assert name in help_text
    assert "Records a second" in help_text
    refused = CliRunner().invoke(dlq, ["redrive", "--help", "--reason", "nothing"]).output
    assert "Usage" in refused
    assert CliRunner().invoke(dlq, ["show", "0-1"]).exit_code == 2
    assert Instant().convert("2026-03-01", None, None).isoformat() == "2026-03-01T00:00:00+00:00"
