"""The published folder's versions, and one leaf of it: a Parquet file that a newer one may replace under a reader's hands.

A reader opens a path more than once: DuckDB takes the footer through one handle and the pages through another, opened later.
When the folder is swapped in between, an old footer meets a new file. So a new leaf keeps, at their old offsets, the data
pages of the versions that readers may still be in; its own pages go into the lowest gap that fits, its footer to the end.
Such a reader gets the complete old rows; everyone else sees an ordinary Parquet file, some of whose bytes no footer names.

Source: Apache Parquet file format, "File format": pages are found by the absolute offsets in the footer alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rtap_assets.runtime.files import sync_folder

LEAF_NAME = "revenue_5m.parquet"
CURRENT, VERSIONS, BUILDING = "current", "versions", ".building"
TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"
MAGIC = b"PAR1"
TAIL_BYTES = 8  # length of the footer and the closing magic
DIGEST_KEY = b"rtap.content-sha256"


@dataclass(frozen=True)
class Region:
    """The bytes from `start` up to `end` that hold a leaf's data pages."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def content_digest(table: pa.Table) -> bytes:
    """A digest of schema and rows; equal tables may differ in it, different ones never agree."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest().encode()


def stored_digest(path: Path) -> bytes | None:
    """The digest that `write_leaf` put into the file."""
    metadata = pq.read_metadata(path).metadata or {}
    digest: bytes | None = metadata.get(DIGEST_KEY)
    return digest


def _data_region(path: Path) -> Region:
    """Where the file's own data pages are; empty for a file without rows."""
    metadata = pq.read_metadata(path)
    groups = range(metadata.num_row_groups)
    columns = [metadata.row_group(group).column(index) for group in groups for index in range(metadata.num_columns)]
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    ends = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
    return Region(min(starts, default=len(MAGIC)), max(ends, default=len(MAGIC)))


def write_leaf(path: Path, table: pa.Table, *, digest: bytes, kept: Sequence[Path]) -> None:
    """Write the table so that readers with a footer of one of the `kept` files find that file's rows here, too.

    Args:
        path: the new file; it must not exist.
        table: the rows.
        digest: `content_digest` of the table, stored for the next refresh.
        kept: the same leaf in the versions whose readers may still be at work.
    """
    table = table.replace_schema_metadata({DIGEST_KEY: digest})
    regions = {source: _data_region(source) for source in kept}
    own = _encode(table, at=len(MAGIC))
    start = _lowest_gap(regions.values(), size=len(own.pages))
    own = _encode(table, at=start)
    # Never shorter than a kept file: a reader may ask for bytes up to the length it saw.
    footer_at = max([start + len(own.pages), *(region.end for region in regions.values())])
    footer_at = max([footer_at, *(source.stat().st_size - len(own.footer) for source in kept)])
    with path.open("xb") as file:
        file.write(MAGIC)
        for source, region in regions.items():
            _copy_region(source, region, file.fileno())
        os.pwrite(file.fileno(), own.pages, start)
        os.pwrite(file.fileno(), own.footer, footer_at)
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class _Encoded:
    pages: bytes
    footer: bytes


def _encode(table: pa.Table, *, at: int) -> _Encoded:
    """The table as Parquet whose first page will be at offset `at` of its file.

    Arrow refuses a sink that is not empty, but takes each offset from the sink's position: so the gap is written into the
    sink after the opening magic.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        sink.write(bytes(at - len(MAGIC)))
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    footer_start = len(content) - TAIL_BYTES - int.from_bytes(content[-TAIL_BYTES:-4], "little")
    return _Encoded(pages=content[at:footer_start], footer=content[footer_start:])


def _lowest_gap(regions: Iterable[Region], *, size: int) -> int:
    start = len(MAGIC)
    for region in sorted(regions, key=lambda region: region.start):
        if region.start - start >= size:
            break
        start = max(start, region.end)
    return start


def _copy_region(source: Path, region: Region, target: int) -> None:
    with source.open("rb") as file:
        os.pwrite(target, os.pread(file.fileno(), region.size, region.start), region.start)


class Versions:
    """The version folders, oldest first, and which of them is current."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / VERSIONS).mkdir(parents=True, exist_ok=True)
        self.retained = sorted((folder / VERSIONS).iterdir())
        link = folder / CURRENT
        self.current = folder / os.readlink(link) if link.is_symlink() else None

    def remove_unpublished(self) -> None:
        """Remove what an export that died has left: its building site, and a version that never became current."""
        shutil.rmtree(self.folder / BUILDING, ignore_errors=True)
        published = self.current.name if self.current else ""
        for path in [path for path in self.retained if path.name > published]:
            shutil.rmtree(path)
            self.retained.remove(path)

    def remove_expired(self, *, retention_seconds: float, now: datetime) -> int:
        """Remove versions that were superseded longer ago than the retention."""
        removed = 0
        while len(self.retained) > 1 and (now - _published_at(self.retained[1])).total_seconds() >= retention_seconds:
            shutil.rmtree(self.retained.pop(0))
            removed += 1
        return removed

    def current_leaves(self) -> set[str]:
        """The leaves of the current version, relative to it."""
        if self.current is None:
            return set()
        return {str(path.relative_to(self.current)) for path in self.current.rglob(LEAF_NAME)}

    def retained_files(self, leaf: str) -> list[Path]:
        """The distinct files that the retained versions have for a leaf."""
        files = {path.stat().st_ino: path for version in self.retained if (path := version / leaf).exists()}
        return list(files.values())

    def make_current(self, building: Path, *, now: datetime) -> str:
        """Name the built folder and let the link point at it, in one rename."""
        sequence = 1 + (int(self.retained[-1].name.partition("-")[0]) if self.retained else 0)
        version = f"{sequence:012d}-{now.astimezone(UTC).strftime(TIME_FORMAT)}"
        building.mkdir(exist_ok=True)
        for path in [building, *(path for path in building.rglob("*") if path.is_dir())]:
            sync_folder(path)
        building.rename(self.folder / VERSIONS / version)
        new_link = self.folder / f".{CURRENT}"
        new_link.unlink(missing_ok=True)
        new_link.symlink_to(Path(VERSIONS) / version)
        os.replace(new_link, self.folder / CURRENT)
        sync_folder(self.folder)
        return version


def _published_at(version: Path) -> datetime:
    return datetime.strptime(version.name.partition("-")[2], TIME_FORMAT).replace(tzinfo=UTC)
