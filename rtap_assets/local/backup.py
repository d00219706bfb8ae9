"""A backup of the state folder, and the state folder from a backup: tables, catalog and checkpoints of one moment.

The streams rest while it is made: no host and no drain can start meanwhile. Iceberg's files never change once written, so
they are linked where the backup is on the same disk; everything that does change is copied. The manifest comes last, so a
backup that was interrupted is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError, LocalStackError
from rtap_assets.host.lock import LOCK_FILE as HOST_LOCK
from rtap_assets.host.lock import NOTE_FILE as HOST_NOTE
from rtap_assets.host.lock import only_host
from rtap_assets.lake.catalog import sqlite_path
from rtap_assets.lake.relocation import lake_files, relocate
from rtap_assets.local.lock import LOCK_NAME
from rtap_assets.local.pid_files import record_of
from rtap_assets.local.state import MARKER_NAME, PRIVATE, claim_state_dir
from rtap_assets.runtime.clock import utc_now
from rtap_assets.runtime.files import write_json
from rtap_assets.runtime.locks import LOCK_FILE, OWNER_FILE, OwnerNote, posix_lock
from rtap_assets.streaming.checkpoints.ownership import in_use, refuse_a_living_owner

Echo = Callable[[str], None]

MANIFEST = "backup.json"
FORMAT = 1
SQLITE_MAGIC = b"SQLite format 3\0"
SQLITE_SIDES = ("-wal", "-shm", "-journal")
# Of this moment or of this machine alone, or built again from the rest; the token is a secret.
NOT_KEPT = {
    "run", "logs", "alerts", "jvm", "marts", "export", "demo", "duckdb-tmp", LOCK_NAME, ".DS_Store",
    "streams/token", f"streams/{HOST_LOCK}", f"streams/{HOST_NOTE}", "streams/pins", "streams/locks",
    f"checkpoints/{LOCK_FILE}", f"checkpoints/{OWNER_FILE}",
}  # fmt: skip
# The services whose data can only be copied while they do not run.
EMBEDDED = {"kafka": "kafka", "registry": "registry"}


@dataclass(frozen=True)
class Backup:
    """What a backup holds: sizes in bytes."""

    files: int
    size_bytes: int
    left_out: list[str]


def back_up(settings: Settings, destination: Path, *, echo: Echo = print) -> Backup:
    """Make a backup of the lake, the checkpoints, the streams' desired states, the ledger and Dagster's history.

    Raises:
        ConfigurationError: catalog or warehouse are elsewhere, or the destination is in use.
        StreamError: a stream host, a drain or a rebuild owns the checkpoints.
        LocalStackError: a file that the catalog names is missing.
    """
    _require_embedded(settings)
    _require_empty(destination)
    running = [folder for folder, service in EMBEDDED.items() if _runs(settings, service)]
    with _streams_at_rest(settings):
        destination.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        kept = {}
        for path in _to_keep(settings, running):
            with suppress(FileNotFoundError):  # Dagster goes on, and removes files; the whole lake is required below
                kept[path.as_posix()] = _keep(settings.state_dir, destination, path)
    echo(f"{len(kept)} files kept; the streams may go on")
    _require_whole_lake(settings, destination)
    document = {
        "format": FORMAT,
        "created_at": utc_now().isoformat(timespec="seconds"),
        "version": version("rtap-assets"),
        "state_dir": str(settings.state_dir),
        "catalog_name": settings.catalog_name,
        "left_out": running,
        "files": {name: {"sha256": digest, "bytes": size} for name, (digest, size) in sorted(kept.items())},
    }
    write_json(destination / MANIFEST, document, durable=True)
    return Backup(len(kept), sum(size for _, size in kept.values()), running)


def restore(settings: Settings, source: Path, *, echo: Echo = print) -> Backup:
    """Make the state folder from a backup, at the path it had or at another one. Each file is compared with its checksum.

    Raises:
        ConfigurationError: it is no backup, or of another catalog name or format.
        LocalStackError: the state folder holds something, or the backup is damaged.
    """
    _require_embedded(settings)
    document = _manifest(settings, source)
    folder = settings.state_dir
    if folder.exists() and {entry.name for entry in folder.iterdir()} - {MARKER_NAME, LOCK_NAME}:
        raise LocalStackError(
            f"The state folder {folder} is not empty.",
            remedy="Move it away (`rtap down` first), or restore into another one with RTAP_STATE_DIR.",
        )
    staging = folder.with_name(f"{folder.name}.restoring")
    if staging.exists():
        shutil.rmtree(staging)  # of an interrupted restore
    staging.mkdir(parents=True, mode=PRIVATE)
    for name, wanted in document["files"].items():
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(source / name, target, is_immutable=_is_data_file(Path(name)))
        if _digest(target) != (wanted["sha256"], wanted["bytes"]):
            shutil.rmtree(staging)
            raise LocalStackError(f"{source / name} differs from its checksum.", remedy="Take another backup.")
    catalog = staging / sqlite_path(settings).relative_to(folder)
    if catalog.exists() and (before := Path(document["state_dir"])) != folder:
        relocate(catalog, moved_from=before, to=folder, lies_at=staging)
        echo(f"the tables' metadata name {folder} in place of {before}")
    if folder.exists():
        shutil.rmtree(folder)
    staging.rename(folder)
    claim_state_dir(settings)
    sizes = [entry["bytes"] for entry in document["files"].values()]
    return Backup(len(sizes), sum(sizes), list(document["left_out"]))


def _manifest(settings: Settings, source: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{source} is no backup, or one that was not finished: {MANIFEST} cannot be read.",
            remedy="Name the folder that `rtap backup` made.",
        ) from error
    if document["format"] != FORMAT:
        raise ConfigurationError(
            f"The backup {source} has format {document['format']}, not {FORMAT}.", remedy=f"Use rtap {document['version']}."
        )
    if document["catalog_name"] != settings.catalog_name:
        raise ConfigurationError(
            f"The backup {source} has the catalog {document['catalog_name']}, the settings name {settings.catalog_name}.",
            remedy="Set RTAP_CATALOG_NAME to the backup's.",
        )
    return document


def _require_embedded(settings: Settings) -> None:
    if settings.catalog_uri or settings.warehouse:
        raise ConfigurationError(
            "The catalog or the warehouse is not in the state folder, so a backup of the folder alone would not fit it.",
            remedy="Stop the streams, and take catalog, warehouse and the state folder together with their own tools.",
        )


def _require_empty(destination: Path) -> None:
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ConfigurationError(f"{destination} is in use.", remedy="Name a folder that does not exist yet.")


@contextmanager
def _streams_at_rest(settings: Settings) -> Iterator[None]:
    """Hold what a stream host and a drain would hold, so that none runs or starts."""
    with only_host(settings):
        refuse_a_living_owner(settings)
        with posix_lock(settings.checkpoint_dir / LOCK_FILE) as held:
            if not held:
                raise in_use(settings, OwnerNote.read(settings.checkpoint_dir / OWNER_FILE))
            OwnerNote.of_this_process("backup").write(settings.checkpoint_dir / OWNER_FILE)
            yield


def _to_keep(settings: Settings, running: list[str]) -> Iterator[Path]:
    """Yield the files, relative to the state folder; the catalog first, so that every file it names is still there."""
    left_out = NOT_KEPT | set(running)
    catalog = sqlite_path(settings).relative_to(settings.state_dir)
    if sqlite_path(settings).exists():
        yield catalog
    for folder, names, files in os.walk(settings.state_dir):
        here = Path(folder).relative_to(settings.state_dir)
        names[:] = sorted(name for name in names if (here / name).as_posix() not in left_out)
        for name in sorted(files):
            path = here / name
            is_side = name.endswith(SQLITE_SIDES) and _is_sqlite(Path(folder) / name.rpartition("-")[0])
            is_socket = not (Path(folder) / name).is_file()
            if path != catalog and path.as_posix() not in left_out and not is_side and not is_socket:
                yield path


def _keep(state_dir: Path, destination: Path, path: Path) -> tuple[str, int]:
    """Copy or link one file; returns checksum and size."""
    source, target = state_dir / path, destination / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if _is_sqlite(source):
        # Whole, with the commits that are still in the write-ahead log, while other programs write.
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
    else:
        _link_or_copy(source, target, is_immutable=path.parts[:2] == ("lake", "warehouse"))
    return _digest(target)


def _link_or_copy(source: Path, target: Path, *, is_immutable: bool) -> None:
    if is_immutable:
        with suppress(OSError):  # another disk, or a file system without links
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _require_whole_lake(settings: Settings, destination: Path) -> None:
    """Check that the copied catalog finds every file of every snapshot in the backup."""
    catalog = destination / sqlite_path(settings).relative_to(settings.state_dir)
    if not catalog.exists():
        return
    files = lake_files(catalog, moved_from=settings.state_dir, to=destination)
    named = [*files.metadata, *files.lists, *files.manifests, *files.data]
    if missing := [path for path in named if not path.exists()]:
        raise LocalStackError(
            f"{len(missing)} files that the catalog names are missing, the first of them {missing[0].name}.",
            remedy="They were removed while the backup was made, or before: try again; see `rtap dq run`.",
        )


def _is_data_file(path: Path) -> bool:
    return path.parts[:2] == ("lake", "warehouse") and path.suffix == ".parquet"


def _is_sqlite(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def _runs(settings: Settings, service: str) -> bool:
    record = record_of(settings, service)
    return record is not None and record.process() is not None
