from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lake_fixtures import NOON, append_rows, gold_row, make_lake, silver_row

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import GOLD
from rtap_assets.errors import ServingError
from rtap_assets.lake.catalog import open_catalog
from rtap_assets.serving.lake_files import TableFiles, local_path, plan_lake, plan_table, reload_once


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def test_a_missing_table_and_a_table_without_snapshot_have_no_files(settings: Settings) -> None:
    nothing = TableFiles(GOLD, None, None, ())
    assert plan_lake(settings)["gold"] == nothing
    make_lake(settings)
    assert plan_lake(settings)["gold"] == nothing


def test_the_plan_is_of_the_newest_snapshot_with_files_that_exist(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON)])
    first = plan_lake(settings)["gold"]
    make_lake(settings, gold=[gold_row(NOON, region="na")])
    second = plan_lake(settings)["gold"]
    assert len(first.paths) == 1
    assert len(second.paths) == 2
    assert set(first.paths) < set(second.paths)
    assert first.snapshot_id != second.snapshot_id
    assert all(Path(path).is_file() for path in second.paths)


def test_the_watermark_is_the_newest_stamp_in_the_history(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON)], watermark=NOON)
    make_lake(settings, gold=[gold_row(NOON, region="na")], watermark=NOON + timedelta(milliseconds=1))
    make_lake(settings, gold=[gold_row(NOON, region="apac")])  # as a compaction: no stamp of its own
    assert plan_lake(settings)["gold"].watermark == NOON + timedelta(milliseconds=1)
    make_lake(settings, silver=[silver_row("a")])
    assert plan_lake(settings)["silver"].watermark is None


def test_a_plan_whose_files_expired_is_made_again_from_the_reloaded_table(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON)])
    with open_catalog(settings) as catalog:
        stale, writer = catalog.load_table(GOLD.identifier), catalog.load_table(GOLD.identifier)
        expired = plan_table(GOLD, stale).paths
        writer.delete()
        append_rows(writer, [gold_row(NOON, region="na")])
        for path in expired:
            Path(path).unlink()
        with pytest.raises(FileNotFoundError):
            plan_table(GOLD, stale)
        files = reload_once(lambda: plan_table(GOLD, stale), reload=stale.refresh, what=GOLD.identifier)
    assert files.snapshot_id == writer.metadata.current_snapshot_id
    assert len(files.paths) == 1


def test_a_file_that_is_gone_from_the_newest_snapshot_is_an_error_that_names_it(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON)])
    (path,) = plan_lake(settings)["gold"].paths
    Path(path).unlink()
    with pytest.raises(ServingError, match=Path(path).name):
        plan_lake(settings)


@dataclass
class TableWithDeletes:
    """As much of an Iceberg table as the planner uses, since PyIceberg itself writes no delete files."""

    snapshot_id: int = 7

    def current_snapshot(self) -> TableWithDeletes:
        return self

    def scan(self, *, snapshot_id: int) -> TableWithDeletes:
        assert snapshot_id == self.snapshot_id
        return self

    def plan_files(self) -> list[Any]:
        return [self]

    @property
    def delete_files(self) -> set[str]:
        return {"deletes.parquet"}


def test_a_snapshot_with_delete_files_is_refused() -> None:
    with pytest.raises(ServingError, match=r"Snapshot 7 of gold\.revenue_5m has delete files"):
        plan_table(GOLD, TableWithDeletes())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///lake/a b/x.parquet", "/lake/a b/x.parquet"),
        ("file:/lake/x%20y.parquet", "/lake/x%20y.parquet"),
        ("/lake/x:y.parquet", "/lake/x:y.parquet"),
    ],
)
def test_a_file_location_is_its_path_as_written(location: str, path: str) -> None:
    assert local_path(location) == path


def test_a_location_on_an_object_store_is_refused() -> None:
    with pytest.raises(ServingError, match="DuckDB cannot read s3://bucket"):
        local_path("s3://bucket/x.parquet")
