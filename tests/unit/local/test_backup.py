"""A backup and its restore without Spark: what is kept, what is refused, and that a moved lake reads as before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from living_folder import contents_of
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType
from stack_fixtures import silent

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ConfigurationError, LocalStackError, StreamError
from rtap_assets.host.lock import only_host
from rtap_assets.host.token import ensure_token, token_path
from rtap_assets.lake.catalog import open_catalog, sqlite_path
from rtap_assets.lake.relocation import lake_files
from rtap_assets.local import backup
from rtap_assets.local.backup import MANIFEST, back_up, restore
from rtap_assets.local.state import claim_state_dir

SCHEMA = Schema(NestedField(1, "id", LongType()), NestedField(2, "name", StringType()))
BY_NAME = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="name"))
TABLE = "bronze.events"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state folder with a table of four commits, one of them a rewrite, a checkpoint and what streams leave."""
    own = load_settings(state_dir=tmp_path / "here" / ".rtap")
    claim_state_dir(own)
    catalog = open_catalog(own)
    catalog.create_namespace("bronze")
    table = catalog.create_table(TABLE, SCHEMA, partition_spec=BY_NAME)
    for number in range(3):
        table.append(pa.table({"id": [number, number + 10], "name": ["a", "b"]}))
    table.delete("id = 10")
    catalog.close()
    for name, text in {
        "checkpoints/bronze/offsets/0": "v1", "streams/desired.json": "{}", "streams/progress/bronze.jsonl": "{}",
        "logs/spark.log": "x", "run/kafka.json.new": "x", "ledger/chunk": "x", "kafka/data/log": "x",
    }.items():  # fmt: skip
        path = own.state_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    ensure_token(own)
    return own


def rows(settings: Settings) -> list[list[tuple[int, str]]]:
    """The rows of each snapshot that the table keeps."""
    catalog = open_catalog(settings)
    table = catalog.load_table(TABLE)
    found = []
    for snapshot in table.snapshots():
        read = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().to_pylist()
        found.append(sorted((row["id"], row["name"]) for row in read))
    catalog.close()
    return found


def test_a_file_that_was_removed_since_the_folder_was_listed_is_left_out(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = backup._to_keep
    run = Path("dagster/history/runs/ended.db-wal")
    monkeypatch.setattr(backup, "_to_keep", lambda *arguments: [run, *listed(*arguments)])
    made = back_up(settings, tmp_path / "backup", echo=silent)
    kept = json.loads((tmp_path / "backup" / MANIFEST).read_text(encoding="utf-8"))["files"]
    assert made.files == len(kept) > 0
    assert run.as_posix() not in kept
    assert restore(elsewhere(settings, tmp_path), tmp_path / "backup", echo=silent).files == made.files


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"state_dir": tmp_path / "there" / ".rtap"})


def test_a_restored_lake_reads_as_before_at_another_path_and_takes_new_rows(settings: Settings, tmp_path: Path) -> None:
    before, taken = rows(settings), tmp_path / "backup"
    for path in [path for path in settings.lake_dir.rglob("*") if path.is_file()]:
        path.with_name(f".{path.name}.crc").write_bytes(b"crc")  # as Hadoop does
    made = back_up(settings, taken, echo=silent)
    there = elsewhere(settings, tmp_path)
    restored = restore(there, taken, echo=silent)
    assert (restored.files, restored.size_bytes) == (made.files, made.size_bytes)
    settings.state_dir.rename(tmp_path / "away")  # nothing is read from the old place
    assert rows(there) == before
    assert len(before) == 4
    checksums = {path.name.rsplit(".", 2)[1] for path in there.state_dir.rglob(".*.crc")}
    assert checksums == {"parquet", "db"}, "Hadoop would refuse metadata that were written again"
    old = str(settings.state_dir).encode()
    found = contents_of(there.state_dir)
    assert [path for path, content in found.items() if path.suffix != ".parquet" and old in content] == []
    catalog = open_catalog(there)
    catalog.load_table(TABLE).append(pa.table({"id": [99], "name": ["c"]}))
    catalog.close()
    assert (99, "c") in rows(there)[-1]
    assert there.state_dir.stat().st_mode & 0o077 == 0


def test_a_restored_lake_at_the_same_path_is_the_same(settings: Settings, tmp_path: Path) -> None:
    before, taken = rows(settings), tmp_path / "backup"
    back_up(settings, taken, echo=silent)
    settings.state_dir.rename(tmp_path / "away")
    restore(settings, taken, echo=silent)
    assert rows(settings) == before


def test_newest_commits_that_are_in_the_write_ahead_log_are_in_the_backup(settings: Settings, tmp_path: Path) -> None:
    with closing(sqlite3.connect(sqlite_path(settings), isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN")
        other.execute("SELECT * FROM iceberg_tables").fetchall()
        catalog = open_catalog(settings)
        catalog.load_table(TABLE).append(pa.table({"id": [7], "name": ["wal"]}))
        catalog.close()
        assert sqlite_path(settings).with_name("catalog.db-wal").stat().st_size > 0
        back_up(settings, tmp_path / "backup", echo=silent)
    there = elsewhere(settings, tmp_path)
    restore(there, tmp_path / "backup", echo=silent)
    assert (7, "wal") in rows(there)[-1]


def test_what_is_kept_and_what_is_not(settings: Settings, tmp_path: Path) -> None:
    back_up(settings, tmp_path / "backup", echo=silent)
    kept = set(json.loads((tmp_path / "backup" / MANIFEST).read_text(encoding="utf-8"))["files"])
    assert {
        "lake/catalog.db",
        "checkpoints/bronze/offsets/0",
        "streams/desired.json",
        "ledger/chunk",
        "kafka/data/log",
    } < kept
    tops = {name.split("/")[0] for name in kept}
    assert tops & {"logs", "run", "marts", "export", "jvm"} == set()
    assert [name for name in kept if "token" in name or "lock" in name or "owner" in name or name.endswith("-wal")] == []
    files = lake_files(tmp_path / "backup" / "lake" / "catalog.db", moved_from=settings.state_dir, to=tmp_path / "backup")
    assert (len(files.lists), len(files.metadata)) == (4, 5)
    there = elsewhere(settings, tmp_path)
    restore(there, tmp_path / "backup", echo=silent)
    assert not token_path(there).exists()


def test_a_backup_is_refused_while_a_host_lives_and_where_it_would_not_be_whole(settings: Settings, tmp_path: Path) -> None:
    with only_host(settings), pytest.raises(StreamError, match="have a host already"):
        back_up(settings, tmp_path / "backup", echo=silent)
    with pytest.raises(ConfigurationError, match="is not in the state folder"):
        back_up(settings.model_copy(update={"warehouse": "file:///mnt/lake"}), tmp_path / "backup", echo=silent)
    with pytest.raises(ConfigurationError, match="is in use"):
        back_up(settings, tmp_path, echo=silent)
    next(settings.lake_dir.rglob("*.parquet")).unlink()
    with pytest.raises(LocalStackError, match="1 files that the catalog names are missing"):
        back_up(settings, tmp_path / "backup", echo=silent)
    assert not (tmp_path / "backup" / MANIFEST).exists()


def damage_a_file(taken: Path) -> None:
    path = taken / "checkpoints" / "bronze" / "offsets" / "0"
    path.write_text("v2", encoding="utf-8")


def remove_the_manifest(taken: Path) -> None:
    (taken / MANIFEST).unlink()


def name_another_catalog(taken: Path) -> None:
    text = (taken / MANIFEST).read_text(encoding="utf-8")
    (taken / MANIFEST).write_text(text.replace('"catalog_name": "lake"', '"catalog_name": "other"'), encoding="utf-8")


@pytest.mark.parametrize(
    "damage, said",
    [
        (damage_a_file, "differs from its checksum"),
        (remove_the_manifest, "is no backup, or one that was not finished"),
        (name_another_catalog, "has the catalog other"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_and_leaves_nothing(
    settings: Settings, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    back_up(settings, tmp_path / "backup", echo=silent)
    damage(tmp_path / "backup")
    there = elsewhere(settings, tmp_path)
    with pytest.raises((ConfigurationError, LocalStackError), match=said):
        restore(there, tmp_path / "backup", echo=silent)
    assert not there.state_dir.exists()


def test_nothing_is_restored_over_a_state_folder(settings: Settings, tmp_path: Path) -> None:
    back_up(settings, tmp_path / "backup", echo=silent)
    with pytest.raises(LocalStackError, match="is not empty"):
        restore(settings, tmp_path / "backup", echo=silent)
    there = elsewhere(settings, tmp_path)
    claim_state_dir(there)  # an empty one that was claimed
    restore(there, tmp_path / "backup", echo=silent)
    assert rows(there) == rows(settings)
