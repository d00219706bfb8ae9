"""Columns of data files, read without Spark, over a small lake."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from lake_fixtures import NOON, append_rows, make_lake, silver_row

from rtap_assets.config import load_settings
from rtap_assets.contracts.tables import SILVER
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.data_files import files_after, read_columns


def test_only_files_that_can_hold_a_later_row_are_read_and_a_column_that_a_file_lacks_is_null(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path / ".rtap")
    settings.lake_dir.mkdir(parents=True)
    make_lake(settings, silver=[silver_row("old", event_time=NOON - timedelta(hours=1))])
    with open_catalog(settings) as catalog:
        table = load_table(catalog, SILVER.identifier)
        append_rows(table, [silver_row("at"), silver_row("after", event_time=NOON + timedelta(seconds=1))])
        with table.update_schema() as change:
            change.add_column("added_later", table.schema().find_type("event_id"))
        files = files_after(table, "event_time", NOON)
        rows = [row for batch in read_columns(table, files, ("added_later", "event_id")) for row in batch.to_pylist()]
    assert rows == [{"added_later": None, "event_id": "at"}, {"added_later": None, "event_id": "after"}]
