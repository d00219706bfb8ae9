"""Whose checkpoint is it: one process at a time, and the same query that wrote the table. Checked before a query starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.retention import history_is_whole
from rtap_assets.lake.snapshots import newest_stream_commit
from rtap_assets.streaming.checkpoints import (
    begins_with_everything,
    committed_position,
    newest_committed,
    newest_planned,
    query_id,
)
from rtap_assets.streaming.queries import StreamDefinition

OWNER_FILE = "owner"


@contextmanager
def owned_checkpoints(session: SparkSession, settings: Settings) -> Iterator[None]:
    """Hold the lock on the checkpoint folder for the time of the block.

    The JVM takes the lock, since the JVM is the writer: it outlives a killed Python process for a moment, and a lock held by
    Python would already be free then.

    Raises:
        StreamError: another process holds it; the message names its pid.
    """
    folder = settings.checkpoint_dir
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / OWNER_FILE
    jvm = session.sparkContext._jvm
    channel = jvm.java.io.RandomAccessFile(str(folder / "lock"), "rw").getChannel()
    lock = _try_lock(channel)
    if lock is None:
        channel.close()
        pid = owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"
        raise StreamError(
            f"The streams' checkpoints in {folder} are in use by process {pid}.",
            remedy="Wait until it ends, or stop it; two owners would write the same tables.",
        )
    try:
        owner.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()
        channel.close()


def _try_lock(channel: Any) -> Any:
    try:
        return channel.tryLock()
    except Py4JJavaError as error:
        if "OverlappingFileLockException" in str(error.java_exception):
            return None  # this very process holds it
        raise


def verify_binding(settings: Settings, stream: StreamDefinition) -> None:
    """Make sure that the checkpoint and the table it writes belong together and are at the same batch.

    Raises:
        StreamError: the checkpoint is missing, foreign or rolled back under a table that has this stream's commits, or the
            table is behind the checkpoint, or the source no longer has what the stream would read next. Going on would write
            rows a second time, or skip new ones in silence.
    """
    own_id = query_id(stream.checkpoint(settings))
    if stream.writes is not None:
        _verify_sink(settings, stream, stream.writes, own_id)
    if stream.reads is not None:
        _verify_source(settings, stream, stream.reads)


def _verify_sink(settings: Settings, stream: StreamDefinition, sink: TableSpec, own_id: str | None) -> None:
    checkpoint, table = stream.checkpoint(settings), sink.identifier
    commit = newest_stream_commit(load_table(open_catalog(settings), table))
    planned, committed = newest_planned(checkpoint), newest_committed(checkpoint)
    where = (
        f"{table} has batch {commit.epoch_id} of query {commit.query_id}" if commit else f"{table} has none of its batches"
    )
    fault = None
    if commit is not None and own_id is None:
        fault = f"is missing: {where}"
    elif commit is not None and own_id != commit.query_id:
        fault = f"belongs to query {own_id}: {where}"
    elif commit is not None and (planned is None or planned < commit.epoch_id):
        fault = f"ends at batch {planned}: {where}"
    # Iceberg's own sink makes a snapshot of every batch, even of an empty one; gold's upsert does not.
    elif stream.native_sink and committed is not None and (commit is None or commit.epoch_id < committed):
        fault = f"has committed batch {committed}: {where}, so it was rolled back or made anew"
    if fault is not None:
        raise StreamError(
            f"The checkpoint of {stream.name} {fault}.",
            remedy=f"Put checkpoint folder {checkpoint} and table back from the same backup, or build the layer anew: "
            f"{_rebuild(stream)}.",
            stream=stream.name,
        )


def _rebuild(stream: StreamDefinition) -> str:
    if stream.reads is not None:
        return f"`rtap rebuild {stream.name}`"
    return (
        "remove the layer's table, its checkpoint and those of everything below it, then drain again (bronze is read again "
        "from Kafka, the rest from bronze)"
    )


def _verify_source(settings: Settings, stream: StreamDefinition, source: TableSpec) -> None:
    """Make sure that the source table still has everything that the stream has not read.

    A fresh checkpoint starts at the oldest snapshot that the source retains, and reads what was added from there on: once
    older ones have expired, Iceberg would leave their rows out without a word.
    """
    checkpoint = stream.checkpoint(settings)
    table = load_table(open_catalog(settings), source.identifier)
    position = committed_position(checkpoint)
    fault = None
    if position is None:
        if not history_is_whole(table) and not begins_with_everything(checkpoint):
            fault = f"has read nothing yet, and the oldest snapshots of {source.identifier} have expired"
    elif table.snapshot_by_id(position["snapshot_id"]) is None:
        fault = f"stands at snapshot {position['snapshot_id']}, which {source.identifier} no longer has"
    if fault is not None:
        raise StreamError(
            f"The checkpoint of {stream.name} {fault}: the stream would leave rows out.",
            remedy=f"Put checkpoint folder {checkpoint} back from its backup, or build the layer anew from all that "
            f"{source.identifier} holds: {_rebuild(stream)}.",
            stream=stream.name,
        )
