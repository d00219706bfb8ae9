"""One leaf of the published folder: a Parquet file that a newer one may replace under a reader's hands.

A reader opens a path more than once: DuckDB takes the footer through one handle and the pages through another, opened later.
When the folder is swapped in between, an old footer meets a new file. So a new leaf keeps, at their old offsets, the data
pages of the versions that readers may still be in; its own pages go into the lowest gap that fits, its footer to the end.
Such a reader gets the complete old rows; everyone else sees an ordinary Parquet file, some of whose bytes no footer names.

Source: Apache Parquet file format, "File format": pages are found by the absolute offsets in the footer alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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


def data_region(path: Path) -> Region:
    """Where the file's own data pages are; empty for a file without rows."""
    with path.open("rb") as file:
        file.seek(-TAIL_BYTES, os.SEEK_END)
        footer_start = file.tell() - int.from_bytes(file.read(4), "little")
    metadata = pq.read_metadata(path)
    columns = [
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    if not columns:
        return Region(len(MAGIC), len(MAGIC))
    start = min(
        min(offset for offset in (column.dictionary_page_offset, column.data_page_offset) if offset is not None)
        for column in columns
    )
    end = max(start, *(_first_page(column) + column.total_compressed_size for column in columns))
    assert end <= footer_start
    return Region(start, end)


def write_leaf(path: Path, table: pa.Table, *, digest: bytes, kept: Sequence[Path]) -> None:
    """Write the table so that readers with a footer of one of the `kept` files find that file's rows here, too.

    Args:
        path: the new file; it must not exist.
        table: the rows.
        digest: `content_digest` of the table, stored for the next refresh.
        kept: the same leaf in the versions whose readers may still be at work.
    """
    table = table.replace_schema_metadata({DIGEST_KEY: digest})
    regions = {source: data_region(source) for source in kept}
    own = _encode(table, at=0)
    start = _lowest_gap(regions.values(), size=own.pages_size)
    own = _encode(table, at=start)
    # Never shorter than a kept file: a reader may ask for bytes up to the length it saw.
    footer_at = max([start + own.pages_size, *(region.end for region in regions.values())])
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

    @property
    def pages_size(self) -> int:
        return len(self.pages)


def _encode(table: pa.Table, *, at: int) -> _Encoded:
    """The table as Parquet whose first byte will be at offset `at` of its file."""
    sink = pa.BufferOutputStream()
    sink.write(bytes(at))
    pq.write_table(table, sink, compression="zstd", row_group_size=1 << 17)
    content = sink.getvalue().to_pybytes()[at:]
    footer_start = len(content) - TAIL_BYTES - int.from_bytes(content[-TAIL_BYTES:-4], "little")
    return _Encoded(pages=content[:footer_start], footer=content[footer_start:])


def _lowest_gap(regions: Iterable[Region], *, size: int) -> int:
    start = len(MAGIC)
    for region in sorted(regions, key=lambda region: region.start):
        if region.start - start >= size:
            break
        start = max(start, region.end)
    return start


def _first_page(column: pq.ColumnChunkMetaData) -> int:
    offsets = (column.dictionary_page_offset, column.data_page_offset)
    return min(offset for offset in offsets if offset is not None)


def _copy_region(source: Path, region: Region, target: int) -> None:
    with source.open("rb") as file:
        os.pwrite(target, os.pread(file.fileno(), region.size, region.start), region.start)
