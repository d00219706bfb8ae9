"""A checkpoint and the tables of its query belong together: checked before a query starts, and under a running one."""

from __future__ import annotations

from pathlib import Path

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.retention import history_is_whole
from rtap_assets.lake.history.snapshots import StreamCommit, ancestors, newest_stream_commit
from rtap_assets.lake.history.table_layout import layout_changes
from rtap_assets.streaming.checkpoints.files import (
    begins_with_everything,
    committed_position,
    newest_committed,
    newest_planned,
    query_id,
)
from rtap_assets.streaming.checkpoints.topic_binding import read_binding
from rtap_assets.streaming.checkpoints.topic_verification import refuse_unfinished_continuation, verify_topic
from rtap_assets.streaming.queries.definitions import SILVER_STREAM, STREAMS, StreamDefinition


def verify_binding(settings: Settings, stream: StreamDefinition) -> None:
    """Make sure that the checkpoint and the table it writes belong together and are at the same batch.

    Raises:
        StreamError: the checkpoint is missing, foreign or rolled back under a table that has this stream's commits, or the
            table is behind the checkpoint, or the source no longer has what the stream would read next, or is another one.
            Going on would write rows a second time, or skip new ones in silence.
        DependencyUnavailable: catalog or broker did not answer.
    """
    if stream.reads_kafka:
        refuse_unfinished_continuation(settings, stream)
    own_id = query_id(stream.checkpoint(settings))
    for spec in (stream.reads, stream.writes):
        if isinstance(spec, TableSpec):
            _refuse_foreign_layout(settings, stream, spec)
    if stream.writes is not None:
        _verify_sink(settings, stream, stream.writes, own_id)
    _refuse_foreign_state(settings, stream)  # once it is known whose checkpoint it is
    if isinstance(stream.reads, TableSpec):
        _verify_source(settings, stream, stream.reads)
    else:
        verify_topic(settings, stream)


def verify_in_place(settings: Settings, stream: StreamDefinition, running_id: str) -> None:
    """Make sure that the folder under a running query is still its own: Spark looks at it at starts alone.

    Raises:
        StreamError: it was removed or replaced. The query would go on in what it finds there, and never start again.
    """
    checkpoint = stream.checkpoint(settings)
    own_id = query_id(checkpoint)
    if own_id != running_id:
        found = "is missing" if own_id is None else f"belongs to query {own_id}"
        raise StreamError(
            f"The checkpoint of {stream.name} {found}: it was changed under the running query {running_id}.",
            remedy=f"Put checkpoint folder {checkpoint} back as it was; if the table has gone on since, rebuild the layer: "
            f"{_rebuild(stream)}.",
            stream=stream.name,
        )


def _refuse_foreign_state(settings: Settings, stream: StreamDefinition) -> None:
    """Refuse a checkpoint of the time when this stream kept a state; Spark would go on without it, and say nothing.

    What that state held back (rows that it took for too late) would be missing from what the stream adds to. Silver's held
    ids alone, and is replaced (`state_handover.py`).
    """
    checkpoint = stream.checkpoint(settings)
    if stream != SILVER_STREAM and (checkpoint / "state").exists():
        raise StreamError(
            f"The checkpoint of {stream.name} was written by an earlier version, which kept a state in it.",
            remedy=f"Rebuild the layer from the layers above it: {_rebuild(stream)}. Nothing else needs to be done.",
            stream=stream.name,
        )


def _refuse_foreign_layout(settings: Settings, stream: StreamDefinition, spec: TableSpec) -> None:
    """Refuse a table whose columns or partitioning another tool has changed; a column that was only added does no harm."""
    table = load_table(open_catalog(settings), spec.identifier)
    found = [change for change in layout_changes(table, spec) if change.is_fatal]
    if not found:
        return
    filled_by = next(one for one in STREAMS.values() if one.writes == spec)
    again = "put it back from its backup" if filled_by.reads_kafka else f"rebuild it: {_rebuild(filled_by)}"
    raise StreamError(
        f"{spec.identifier} was changed by another tool: {'; '.join(change.detail for change in found)}.",
        remedy="Undo it with that tool (rename the column back, set the partitioning again; a dropped column that is added "
        f"again is null in earlier rows), or {again}.",
        stream=stream.name,
    )


def _verify_sink(settings: Settings, stream: StreamDefinition, sink: TableSpec, own_id: str | None) -> None:
    checkpoint, table = stream.checkpoint(settings), sink.identifier
    commit = newest_stream_commit(load_table(open_catalog(settings), table))
    planned, committed = newest_planned(checkpoint), newest_committed(checkpoint)
    where = (
        f"{table} has batch {commit.epoch_id} of query {commit.query_id}" if commit else f"{table} has none of its batches"
    )
    fault = None
    if commit is not None and committed is None and stream.reads_kafka and _was_closed(checkpoint, commit):
        return  # a continuation was recorded: the new checkpoint begins where the query that it closed has ended
    if commit is not None and own_id is None:
        fault = f"is missing: {where}"
    elif commit is not None and own_id != commit.query_id:
        fault = f"belongs to query {own_id}: {where}"
    elif commit is not None and (planned is None or planned < commit.epoch_id):
        fault = f"ends at batch {planned}: {where}"
    # Every batch makes a snapshot, also an empty one.
    elif committed is not None and (commit is None or commit.epoch_id < committed):
        fault = f"has committed batch {committed}: {where}, so it was rolled back or recreated"
    if fault is not None:
        raise StreamError(
            f"The checkpoint of {stream.name} {fault}.",
            remedy=f"Put checkpoint folder {checkpoint} and table back from the same backup, or rebuild the layer: "
            f"{_rebuild(stream)}.",
            stream=stream.name,
        )


def _was_closed(checkpoint: Path, commit: StreamCommit) -> bool:
    """Whether `rtap topics continue` has closed this query at this batch, the newest one that it knew of."""
    binding = read_binding(checkpoint)
    newest = binding.closed[-1] if binding is not None and binding.closed else None
    return newest is not None and newest.query_id == commit.query_id and commit.epoch_id <= newest.batch_id


def _rebuild(stream: StreamDefinition) -> str:
    if not stream.reads_kafka:
        return f"`rtap rebuild {stream.name}`"
    return "move the folders of the lake and of the checkpoints aside together, then drain (from what Kafka still holds)"


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
    elif position["snapshot_id"] not in {snapshot.snapshot_id for snapshot in ancestors(table)}:
        fault = f"stands at snapshot {position['snapshot_id']}, from which {source.identifier} was rolled back"
    if fault is not None:
        raise StreamError(
            f"The checkpoint of {stream.name} {fault}: the stream would leave rows out.",
            remedy=f"Put checkpoint folder {checkpoint} back from its backup, or rebuild the layer from all that "
            f"{source.identifier} holds: {_rebuild(stream)}.",
            stream=stream.name,
        )
