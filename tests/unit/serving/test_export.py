from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from export_reader import GOLD_AT_VERSION, judge, read_folder, utc_connection
from lake_fixtures import NOON, gold_row, make_lake
from pyiceberg.expressions import EqualTo

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import GOLD
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.serving.export import Published, export_gold, publish
from rtap_assets.serving.lake_files import plan_lake
from rtap_assets.serving.leaf_files import LEAF_NAME

SECONDS_BETWEEN_REFRESHES = 24


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with utc_connection() as opened:
        yield opened


class Refresh(Protocol):
    def __call__(self, version: int, *, now: datetime | None = None, retention_seconds: float = 600) -> Published: ...


@pytest.fixture
def refresh(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> Refresh:
    """Publishes gold as of a version to the test's folder."""

    def publish_version(version: int, *, now: datetime | None = None, retention_seconds: float = 600) -> Published:
        connection.execute(f"CREATE OR REPLACE TABLE gold AS {GOLD_AT_VERSION}", {"version": version})
        moment = NOON + timedelta(seconds=SECONDS_BETWEEN_REFRESHES * version) if now is None else now
        return publish(connection, tmp_path, retention_seconds=retention_seconds, now=moment)

    return publish_version


def exported(settings: Settings) -> list[tuple[object, ...]]:
    with utc_connection() as connection:
        return connection.execute(
            "SELECT window_start, window_date::VARCHAR, region, plan_tier, net_amount::VARCHAR FROM "
            f"read_parquet('{settings.export_dir}/current/**/*.parquet', hive_partitioning = true) ORDER BY ALL"
        ).fetchall()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def test_every_interleaving_of_listing_footer_and_pages_reads_the_rows_of_the_footer(
    tmp_path: Path, refresh: Refresh
) -> None:
    """A reader lists at one version, takes a footer at a later one, and reads the pages at a later one still."""
    taken: dict[str, list[tuple[pq.FileMetaData, pa.Table, int]]] = {}
    for version in range(15):
        refresh(version)
        for path in _leaves(tmp_path):
            taken.setdefault(str(path.relative_to(tmp_path / "current")), [])
        for name, older in taken.items():
            leaf = tmp_path / "current" / name  # whichever version listed it, it is there
            size = leaf.stat().st_size
            older.append((pq.read_metadata(leaf), pq.ParquetFile(leaf).read(), size))
            for footer, rows, smallest in older:
                assert pq.ParquetFile(leaf, metadata=footer).read() == rows
                assert size >= smallest


def test_each_window_is_in_one_leaf_of_every_version(tmp_path: Path, refresh: Refresh, connection: Any) -> None:
    for version in (0, 1, 12, 40):
        refresh(version)
        judge(read_folder(connection, tmp_path), oldest=version, newest=version)


def test_a_leaf_stops_growing_once_old_versions_leave_the_retention(tmp_path: Path, refresh: Refresh) -> None:
    sizes = []
    for step in range(30):
        refresh(5 + step % 7, now=NOON + timedelta(seconds=60 * step), retention_seconds=300)
        sizes.append(sum(path.stat().st_size for path in _leaves(tmp_path)))
    assert max(sizes[20:]) <= max(sizes[:10])


def test_a_second_export_of_the_same_snapshot_publishes_nothing(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON), gold_row(NOON + timedelta(days=1), region="na")])
    first = export_gold(settings, now=NOON)
    second = export_gold(settings, now=NOON + timedelta(seconds=1))
    assert (first.rows, first.leaves, first.leaves_written) == (2, 2, 2)
    assert (second.rows, second.leaves, second.leaves_written, second.version) == (2, 2, 0, first.version)


def test_export_has_the_window_date_and_region_as_folders(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON), gold_row(NOON + timedelta(hours=12), region="na")])
    export_gold(settings, now=NOON)
    assert exported(settings) == [
        (NOON, "2026-03-01", "emea", "pro", "10.0000"),
        (NOON + timedelta(hours=12), "2026-03-02", "na", "pro", "10.0000"),
    ]
    folders = sorted(str(path.parent.relative_to(settings.export_dir / "current")) for path in _leaves(settings.export_dir))
    assert folders == ["window_date=2026-03-01/region=emea", "window_date=2026-03-02/region=na"]


def test_an_unchanged_leaf_is_the_same_file_in_both_versions(settings: Settings) -> None:
    make_lake(settings, gold=[gold_row(NOON), gold_row(NOON + timedelta(days=1))])
    export_gold(settings, now=NOON)
    before = {path.parent.parent.name: path.stat().st_ino for path in _leaves(settings.export_dir)}
    make_lake(settings, gold=[gold_row(NOON + timedelta(days=1), plan_tier="free")])
    report = export_gold(settings, now=NOON + timedelta(seconds=1))
    after = {path.parent.parent.name: path.stat().st_ino for path in _leaves(settings.export_dir)}
    assert report.leaves_written == 1
    assert before["window_date=2026-03-01"] == after["window_date=2026-03-01"]
    assert before["window_date=2026-03-02"] != after["window_date=2026-03-02"]


def test_a_leaf_whose_rows_are_gone_stays_as_an_empty_file(tmp_path: Path, refresh: Refresh) -> None:
    refresh(30, now=NOON)
    paths = {path.relative_to(tmp_path / "current") for path in _leaves(tmp_path)}
    for seconds, version in ((1, 2), (2, 2), (3, 2)):
        refresh(version, now=NOON + timedelta(seconds=seconds))
        assert {path.relative_to(tmp_path / "current") for path in _leaves(tmp_path)} == paths
    with utc_connection() as opened:
        judge(read_folder(opened, tmp_path), oldest=2, newest=2)


def test_old_versions_are_removed_after_their_retention_and_not_before(tmp_path: Path, refresh: Refresh) -> None:
    refresh(0, now=NOON)
    refresh(1, now=NOON + timedelta(seconds=100))  # supersedes version 0
    assert refresh(2, now=NOON + timedelta(seconds=699)).removed == 0
    assert refresh(3, now=NOON + timedelta(seconds=700)).removed == 1
    assert len(list((tmp_path / "versions").iterdir())) == 3


def test_what_an_export_that_died_has_left_is_removed(tmp_path: Path, refresh: Refresh) -> None:
    refresh(0)
    (tmp_path / ".building" / "window_date=2026-03-01").mkdir(parents=True)
    (tmp_path / ".current").symlink_to("versions/nowhere")
    unpublished = tmp_path / "versions" / "000000000002-20260301T120000.000000Z"
    unpublished.mkdir()
    refresh(1)
    assert not (tmp_path / ".building").exists()
    assert not (tmp_path / ".current").is_symlink()
    assert [path.name[:12] for path in sorted((tmp_path / "versions").iterdir())] == ["000000000001", "000000000002"]
    assert os.readlink(tmp_path / "current").startswith("versions/000000000002-20260301T120024")


def _leaves(folder: Path) -> list[Path]:
    return sorted((folder / "current").glob(f"*/*/{LEAF_NAME}"))


def test_an_export_reads_no_file_of_days_that_have_not_changed_and_equals_one_from_nothing(settings: Settings) -> None:
    day = timedelta(days=1)
    make_lake(settings, gold=[gold_row(NOON), gold_row(NOON, region="na")])
    export_gold(settings, now=NOON)
    (old,) = plan_lake(settings)["gold"].paths
    make_lake(settings, gold=[gold_row(NOON + day), gold_row(NOON + day, region="apac")])
    kept = Path(old).read_bytes()
    Path(old).write_bytes(b"not parquet")
    report = export_gold(settings, now=NOON + day)
    assert (report.rows, report.leaves, report.leaves_written) == (4, 4, 2)
    went_on = exported(settings)
    Path(old).write_bytes(kept)
    (settings.export_dir / ".files.json").unlink()
    whole = export_gold(settings, now=NOON + 2 * day)
    assert (whole.leaves, whole.leaves_written) == (4, 0)
    assert exported(settings) == went_on


def test_windows_that_left_gold_leave_the_folder_and_the_other_days_stay(settings: Settings) -> None:
    day = timedelta(days=1)
    make_lake(settings, gold=[gold_row(NOON), gold_row(NOON, region="na")])
    make_lake(settings, gold=[gold_row(NOON + day)])
    export_gold(settings, now=NOON)
    with open_catalog(settings) as catalog:
        load_table(catalog, GOLD.identifier).delete(EqualTo("region", "na"))
    report = export_gold(settings, now=NOON + day)
    assert (report.rows, report.leaves, report.leaves_written) == (2, 3, 1)
    assert [(start, region) for start, _, region, *_ in exported(settings)] == [(NOON, "emea"), (NOON + day, "emea")]
