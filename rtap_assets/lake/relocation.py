"""The files of an embedded lake, found from its catalog, and the same lake at another path.

Iceberg's metadata name every file by its absolute path. A lake that was copied elsewhere reads the old place until they are
written again. Copy-on-write tables only: no delete files, whose contents name data files too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro

from rtap_assets.runtime.files import replacing

SCHEME = "file:"
REMOVED = 2  # the status of a manifest's entry that records a removal
CATALOG_COLUMNS = (
    ("iceberg_tables", "metadata_location"),
    ("iceberg_tables", "previous_metadata_location"),
    ("iceberg_namespace_properties", "property_value"),
)


@dataclass(frozen=True)
class LakeFiles:
    """What a catalog names: metadata (of each table, newest first), manifest lists and manifests; and the data files."""

    metadata: list[Path]
    lists: list[Path]
    manifests: list[Path]
    data: list[Path]


def lake_files(catalog_db: Path, *, moved_from: Path, to: Path) -> LakeFiles:
    """Return the files of every snapshot that the tables' newest metadata keep, as they lie below `to`.

    Raises:
        FileNotFoundError: a metadata file, manifest list or manifest is missing.
    """
    metadata: list[Path] = []
    lists: dict[Path, None] = {}
    manifests: dict[Path, None] = {}
    data: dict[Path, None] = {}
    for location in _metadata_locations(catalog_db):
        newest = _moved(location, moved_from, to)
        document = json.loads(newest.read_text(encoding="utf-8"))
        older = (_moved(entry["metadata-file"], moved_from, to) for entry in document.get("metadata-log", ()))
        metadata += [newest, *(path for path in older if path.exists())]
        for snapshot in document.get("snapshots", ()):
            lists[_moved(snapshot["manifest-list"], moved_from, to)] = None
    for path in lists:
        manifests |= {_moved(entry["manifest_path"], moved_from, to): None for entry in _records(path)}
    for path in manifests:
        living = (entry for entry in _records(path) if entry["status"] != REMOVED)
        data |= {_moved(entry["data_file"]["file_path"], moved_from, to): None for entry in living}
    return LakeFiles(metadata, list(lists), list(manifests), list(data))


def relocate(catalog_db: Path, *, moved_from: Path, to: Path, lies_at: Path) -> None:
    """Write catalog and metadata again so that they name their files below `to`; the data files stay as they are.

    Args:
        catalog_db: The SQLite catalog of the copy.
        moved_from: The folder that the metadata name.
        to: The folder that they shall name.
        lies_at: Where the copy is while this is done.
    """
    files = lake_files(catalog_db, moved_from=moved_from, to=lies_at)
    old, new = str(moved_from), str(to)

    def data_file_moved(entry: dict[str, Any]) -> None:
        entry["data_file"]["file_path"] = _replaced(entry["data_file"]["file_path"], old, new)

    def manifest_moved(entry: dict[str, Any]) -> None:
        # Readers take the length from here.
        entry["manifest_length"] = _moved(entry["manifest_path"], moved_from, lies_at).stat().st_size
        entry["manifest_path"] = _replaced(entry["manifest_path"], old, new)

    for path in files.manifests:
        _rewrite(path, data_file_moved)
    for path in files.lists:
        _rewrite(path, manifest_moved)
    for path in files.metadata:
        document = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(_replaced(document, old, new)), encoding="utf-8")
    for path in (*files.manifests, *files.lists, *files.metadata):
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)  # Hadoop's checksum of what was there before
    with closing(sqlite3.connect(catalog_db)) as connection, connection:
        for table, column in CATALOG_COLUMNS:
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (f"{old}/", f"{new}/"))


def _metadata_locations(catalog_db: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{catalog_db}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute("SELECT metadata_location FROM iceberg_tables ORDER BY 1")]


def _moved(location: str, moved_from: Path, to: Path) -> Path:
    path = Path("/" + location.removeprefix(SCHEME).lstrip("/"))
    return to / path.relative_to(moved_from) if path.is_relative_to(moved_from) else path


def _replaced(value: Any, old: str, new: str) -> Any:
    """Return a JSON value in which every text that is a path below `old` (with or without a scheme) is one below `new`."""
    if isinstance(value, dict):
        return {name: _replaced(one, old, new) for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, old, new) for one in value]
    if isinstance(value, str):
        for scheme in ("", "file:", "file://"):
            if value == f"{scheme}{old}" or value.startswith(f"{scheme}{old}/"):
                return f"{scheme}{new}{value[len(scheme) + len(old) :]}"
    return value


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for record in fastavro.reader(file):
            assert isinstance(record, dict)
            yield record


def _rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write an Avro file again with each record changed; its schema and the header that Iceberg put there stay."""
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        schema, codec = json.loads(reader.metadata["avro.schema"]), reader.codec
        header = {name: value for name, value in reader.metadata.items() if not name.startswith("avro.")}
        records = [record for record in reader if isinstance(record, dict)]
    for record in records:
        change(record)
    with replacing(path) as file:
        fastavro.writer(file, schema, records, codec=codec, metadata=header)
