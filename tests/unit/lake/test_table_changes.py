"""Changes that others make to the tables: found in the history, written down once, shown until acknowledged."""

from __future__ import annotations

import shutil
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from lake_fixtures import NOON, append_rows, bronze_row, gold_row, make_lake, silver_row
from pyiceberg.expressions import EqualTo
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table
from pyiceberg.types import LongType, StringType

from rtap_assets.cli import cli
from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.offset_gaps import GapKind
from rtap_assets.contracts.table_changes import TABLE_CHANGES, TableChange
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER
from rtap_assets.errors import ServingError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import STAMP_CORRECTION_ID, newest_read
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.lake.offset_gaps import read_gaps
from rtap_assets.lake.table_changes import acknowledge_change, note_changes, read_changes
from rtap_assets.quality.catalog import CHECKS, DqResult
from rtap_assets.quality.full_pass import run_checks

NOW = NOON + timedelta(hours=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    own = load_settings(state_dir=tmp_path_factory.mktemp("lake") / ".rtap")
    rows = [silver_row(f"event-{number}", account_id=f"account-{number % 3}") for number in range(6)]
    make_lake(own, bronze=[bronze_row(0)], silver=rows, gold=[gold_row(NOON)], watermark=NOON)
    shutil.copytree(own.state_dir, own.state_dir.with_name("made"))
    return own


@pytest.fixture
def settings(made: Settings) -> Settings:
    """Return settings of a lake as it was made, at its path: a table's metadata hold absolute ones."""
    shutil.rmtree(made.state_dir)
    shutil.copytree(made.state_dir.with_name("made"), made.state_dir)
    return made


def silver(settings: Settings) -> Table:
    return load_table(open_catalog(settings), SILVER.identifier)


def noticed(settings: Settings) -> list[tuple[str, str, int, int, str]]:
    return [
        (one.table_name, one.operation, one.rows_added, one.rows_deleted, one.detail)
        for one in note_changes(settings, now=NOW)
    ]


def check(settings: Settings, name: str = "foreign_changes") -> DqResult:
    checks = [CHECKS[GOLD.identifier, name]]
    return run_checks(settings, positions=StreamPositions(), now=NOW, checks=checks)[0]


def delete(table: Table) -> None:
    table.delete(EqualTo("account_id", "account-1"))


def delete_whole_files(table: Table) -> None:
    table.delete(EqualTo("currency", "EUR"))


def overwrite(table: Table) -> None:
    rows = [silver_row("other", account_id="account-2")]
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    table.overwrite(pa.Table.from_pylist(rows, schema=schema), overwrite_filter=EqualTo("account_id", "account-2"))


def append(table: Table) -> None:
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    table.append(pa.Table.from_pylist([silver_row("other")], schema=schema))


def roll_back(table: Table) -> None:
    append_rows(table, [silver_row("event-6")])
    append_rows(table, [silver_row("event-7")])
    table.manage_snapshots().rollback_to_snapshot(table.snapshots()[0].snapshot_id).commit()


def add_column(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column("note", StringType())


def drop_column(table: Table) -> None:
    with table.update_schema() as update:
        update.delete_column("promo_code")


def rename_column(table: Table) -> None:
    with table.update_schema() as update:
        update.rename_column("region", "area")


def drop_and_add_column(table: Table) -> None:
    drop_column(table)
    with table.update_schema() as update:
        update.add_column("promo_code", StringType())


def widen_column(table: Table) -> None:
    with table.update_schema() as update:
        update.update_column("quantity", LongType())


def partition(table: Table) -> None:
    with table.update_spec() as update:
        update.add_identity("region")


def set_property(table: Table) -> None:
    with table.transaction() as transaction:
        transaction.set_properties({"comment": "mine"})


def correct(table: Table) -> None:
    table.delete(EqualTo("account_id", "account-1"), snapshot_properties={STAMP_CORRECTION_ID: "c-1"})


S = SILVER.identifier
HISTORIES = 3  # of the three tables: what the check looks at besides the changes
CASES: dict[str, tuple[Any, list[tuple[str, str, int, int, str]]]] = {
    "rows deleted": (delete, [(S, "overwrite", 4, 6, "")]),
    "files deleted": (delete_whole_files, [(S, "delete", 0, 6, "")]),
    "rows replaced": (overwrite, [(S, "overwrite", 4, 6, ""), (S, "append", 1, 0, "")]),
    "rows added": (append, [(S, "append", 1, 0, "")]),
    "a column added": (add_column, [(S, "columns", 0, 0, "column note was added")]),
    "a column dropped": (drop_column, [(S, "columns", 0, 0, "column promo_code was dropped")]),
    "a column dropped and added": (
        drop_and_add_column,
        [(S, "columns", 0, 0, "column promo_code was dropped and added again: it is null in earlier rows")],
    ),
    "a column renamed": (rename_column, [(S, "columns", 0, 0, "column region was renamed to area")]),
    "a column widened": (widen_column, [(S, "columns", 0, 0, "column quantity was changed from int to long")]),
    "partitioned": (
        partition,
        [(S, "partitioning", 0, 0, "it is partitioned by identity(region), no longer by nothing")],
    ),
    "a property set": (set_property, []),
    "a correction": (correct, []),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_by_another_program_is_found_and_written_down_once(settings: Settings, name: str) -> None:
    change, expected = CASES[name]
    assert noticed(settings) == []
    change(silver(settings))
    assert noticed(settings) == expected
    assert noticed(settings) == []
    assert len(read_changes(settings)) == len(expected)
    assert check(settings).passed == (not expected)


def test_a_rollback_is_found_as_long_as_the_snapshots_are_there(settings: Settings) -> None:
    roll_back(silver(settings))
    (change,) = note_changes(settings, now=NOW)
    assert (change.operation, change.table_name) == ("rollback", S)
    assert change.detail == f"2 snapshots up to {change.snapshot_id} are no longer part of its history"


def test_a_change_outlives_its_snapshot_and_is_shown_until_it_is_acknowledged(settings: Settings) -> None:
    delete(silver(settings))
    assert check(settings).rows_failed == 1  # at once, also before anything has written it down
    (change,) = note_changes(settings, now=NOW)
    append_rows(silver(settings), [silver_row("event-8")])
    silver(settings).maintenance.expire_snapshots().by_id(int(change.change_id)).commit()
    assert [one.change_id for one in read_changes(settings)] == [change.change_id]

    result = check(settings)
    assert (result.passed, result.blocking, result.rows_checked, result.rows_failed) == (False, False, HISTORIES + 1, 1)
    assert result.detail["newest"] == change.sentence
    assert change.sentence.startswith("silver.sales_events: overwrite by a program that does not say which it is at ")
    assert change.sentence.endswith(f", 4 rows added, 6 deleted ({change.change_id})")
    assert check(settings, "gold_equals_silver").detail["changed by others"] == change.sentence

    acknowledge_change(settings, change.change_id, now=NOW)
    acknowledge_change(settings, change.change_id, now=NOW)
    assert noticed(settings) == []
    result = check(settings)
    assert (result.passed, result.rows_checked, result.detail) == (
        True,
        HISTORIES + 1,
        {"newest": "none", "acknowledged": "1"},
    )
    with pytest.raises(ServingError, match="There is no change 7"):
        acknowledge_change(settings, "7", now=NOW)


def test_offsets_removed_from_bronze_are_written_down_as_gaps(settings: Settings) -> None:
    bronze = load_table(open_catalog(settings), BRONZE.identifier)
    rows = [bronze_row(offset, kafka_partition=1, account_id=str(offset in (3, 4, 7))) for offset in range(9)]
    append_rows(bronze, rows)
    bronze.delete(EqualTo("account_id", "True"))
    (change,) = note_changes(settings, now=NOW)
    assert note_changes(settings, now=NOW) == []
    assert [
        (gap.kafka_partition, gap.first_offset, gap.last_offset, gap.records, gap.kind) for gap in read_gaps(settings)
    ] == [
        (1, 3, 4, 2, GapKind.REMOVED),
        (1, 7, 7, 1, GapKind.REMOVED),
    ]
    assert {gap.detail for gap in read_gaps(settings)} == {f"by {change.engine}, {change.change_id}"}


def test_what_was_removed_behind_a_position_counts_as_read_up_to_the_next_append(settings: Settings) -> None:
    table = silver(settings)
    first = table.snapshots()[0]
    position = {"snapshot_id": first.snapshot_id, "position": 1}
    assert newest_read(table, position) == first
    delete(table)
    removed = table.refresh().current_snapshot()
    assert newest_read(table, position) == removed
    append_rows(table, [silver_row("event-8")])
    delete_whole_files(table.refresh())
    assert newest_read(table.refresh(), position) == removed
    assert newest_read(table, None) is None


def test_the_commands_list_and_acknowledge(settings: Settings) -> None:
    run = partial(CliRunner().invoke, obj=settings)
    assert run(cli, ["tables", "changes"]).output == "no change by another program that is not acknowledged\n"
    append(silver(settings))
    (change,) = read_changes(settings)
    assert run(cli, ["tables", "changes"]).output == f"{change.sentence}\n"
    assert run(cli, ["tables", "ack", change.change_id]).output == f"acknowledged: {change.sentence}\n"
    assert run(cli, ["tables", "changes"]).output == "no change by another program that is not acknowledged\n"
    assert run(cli, ["tables", "changes", "--all"]).output == f"{change.sentence}, acknowledged\n"
    assert change.change_id in run(cli, ["tables", "changes", "--all", "--json"]).output


def test_the_table_of_changes_has_the_fields_of_a_change() -> None:
    assert TABLE_CHANGES.column_names == tuple(TableChange.__dataclass_fields__)
