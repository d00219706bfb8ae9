"""Rebuild a layer from the table above it, also when that table's oldest snapshots have expired.

A stream that starts on such a table would read the retained snapshots' own files alone, and say nothing. A rebuild makes the
new checkpoint begin with *all* files of the source as it is now, and goes on from there as any stream does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.history.commits import current_append
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.streaming.checkpoints.files import initial_offset_file
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.operations.corrections.api import end_before_rebuild, finish_before_rebuild
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.queries.definitions import SILVER_STREAM, STREAMS, StreamDefinition
from rtap_assets.streaming.queries.revenue_windows import REVENUE_WINDOWS

UNLIMITED = 2**31 - 1


def rebuild_layer(
    session: SparkSession, settings: Settings, name: str, *, echo: Callable[[str], None] = lambda _: None
) -> list[DrainReport]:
    """Drop the layer's table and everything below it with their checkpoints, and build them again from what is above.

    The caller owns the checkpoints, and none of these streams runs. Each first micro-batch holds the whole source: split
    into several, its rows would come in the order of files and much of it would be too late.

    Raises:
        StreamError: the layer is read from Kafka and not from a table, or a stream failed; repeat the rebuild then.
    """
    if STREAMS[name].reads_kafka:
        raise StreamError(
            f"{name} is read from Kafka, not from a table.",
            remedy="Put its table and its checkpoint back from the same backup.",
        )
    streams = downstream_of(STREAMS[name])
    run = CorrectionRun(session, settings, requested_by=f"rebuild of {name}", echo=echo)
    rebuilt = {stream.name for stream in streams}
    if rebuilt >= REVENUE_WINDOWS.keys():
        end_before_rebuild(run, silver_too=SILVER_STREAM.name in rebuilt)
    elif rebuilt & REVENUE_WINDOWS.keys():
        finish_before_rebuild(run)
    for stream in streams:
        _remove(session, settings, stream, echo)
    ensure_tables(session, settings.catalog_name)
    whole = {"source_max_files_per_batch": UNLIMITED, "source_max_rows_per_batch": UNLIMITED}
    reports = []
    for stream in streams:
        assert isinstance(stream.reads, TableSpec)
        _begin_with_everything(session, settings, stream, stream.reads)
        reports.append(drain_stream(session, settings.model_copy(update=whole), stream.name, echo=echo))
        echo(f"{stream.name}: rebuilt from {reports[-1].input_rows:,} rows of {stream.reads.identifier}")
    return reports


def downstream_of(stream: StreamDefinition) -> list[StreamDefinition]:
    """The stream and those that read what it writes, in the order of the chain."""
    found = [stream]
    for other in STREAMS.values():
        if other.reads in [one.writes for one in found]:
            found.append(other)
    return found


def _begin_with_everything(session: SparkSession, settings: Settings, stream: StreamDefinition, source: TableSpec) -> None:
    """Write the new checkpoint's initial offset: all files of the source's current snapshot.

    A stream begins at an append alone. When rows were changed or removed since the newest one, it would bring them back:
    an empty append puts a beginning behind them.

    Source: Iceberg's `StreamingOffset`, which the stream writes itself when there is none; `scan_all_files` is its own word.
    """
    beginning = current_append(session, settings, source, reader=stream.name)
    if beginning is None:
        return  # the source is empty: there is nothing that could be left out
    path = initial_offset_file(stream.checkpoint(settings))
    path.parent.mkdir(parents=True, exist_ok=True)
    offset = {"version": 1, "snapshot_id": beginning, "position": 0, "scan_all_files": True}
    path.write_text(json.dumps(offset), encoding="utf-8")


def _remove(session: SparkSession, settings: Settings, stream: StreamDefinition, echo: Callable[[str], None]) -> None:
    # The checkpoint first: a crash in between leaves a table without checkpoint, which is refused and rebuilt again.
    if stream.checkpoint(settings).exists():
        shutil.rmtree(stream.checkpoint(settings))
    if stream.writes is not None:
        session.sql(f"DROP TABLE IF EXISTS {settings.catalog_name}.{stream.writes.identifier} PURGE")
    echo(f"{stream.name}: table and checkpoint removed")
