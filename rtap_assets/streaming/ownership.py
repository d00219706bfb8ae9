"""Whose checkpoint is it: one process at a time, and the same query that wrote the table. Checked before a query starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.snapshots import newest_stream_commit
from rtap_assets.streaming.checkpoints import newest_committed, newest_planned, query_id
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
            table is behind the checkpoint. Going on would write rows a second time, or skip new ones in silence.
    """
    checkpoint = stream.checkpoint(settings)
    own_id = query_id(checkpoint)
    if stream.writes is None:
        return
    table, commit = (
        stream.writes.identifier,
        newest_stream_commit(load_table(open_catalog(settings), stream.writes.identifier)),
    )
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
            remedy=f"Put checkpoint folder {checkpoint} and table back from the same backup, or rebuild: remove the layer's "
            "table, its checkpoint and those of everything below it, then drain again (bronze is read again from Kafka, the "
            "rest from bronze).",
        )
