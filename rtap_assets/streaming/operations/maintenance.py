"""Maintenance of the layers' tables and of quality results, by the owner of the checkpoints, which say what is read.

`maintain_tables` is the whole of it and takes minutes; `compact_when_due` and `expire_when_due` belong to the write path,
which adds a file and a snapshot a batch: call them every few minutes. All work beside running streams; one that merges is
paused while its table is compacted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import TypeVar

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import CORRECTIONS
from rtap_assets.contracts.offset_gaps import OFFSET_GAPS
from rtap_assets.contracts.streams import stream_filling
from rtap_assets.contracts.tables import DQ_RESULTS, TABLES, TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import catalog_session, load_table
from rtap_assets.lake.compaction import Compaction, compact
from rtap_assets.lake.corrections import has_pending_corrections
from rtap_assets.lake.history.retention import Consumer, ExpiryPlan, plan_expiry
from rtap_assets.lake.history.snapshots import table_state
from rtap_assets.lake.history.stream_offsets import BEFORE_THE_FIRST_SNAPSHOT
from rtap_assets.lake.maintenance import (
    expire_snapshots,
    manifests_are_worth_rewriting,
    remove_orphan_files,
    rewrite_manifests,
)
from rtap_assets.lake.table_changes import note_changes
from rtap_assets.lake.table_lock import locked_table, table_lock
from rtap_assets.lake.table_metrics import TableMetrics, breaches, measure_table
from rtap_assets.quality.results_table import remove_old_results
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.checkpoints.files import newest_committed, newest_planned, read_batch
from rtap_assets.streaming.operations.maintenance_report import (
    Expiry,
    MaintenanceReport,
    TableMaintenance,
    maintenance_line,
)
from rtap_assets.streaming.queries.definitions import STREAMS, StreamDefinition

Done = TypeVar("Done")
LOG = logging.getLogger(__name__)


def maintain_tables(
    session: SparkSession,
    settings: Settings,
    *,
    echo: Callable[[str], None],
    pause: Callable[[str], AbstractContextManager[object]] = nullcontext,
    clock: Callable[[], datetime] = utc_now,
) -> MaintenanceReport:
    """Compact, rewrite manifests, expire snapshots and remove orphan files, table by table.

    The caller owns the checkpoints (`open_layers`). While streams run, `pause` stops the named one between batches when
    the block is entered and lets it go on afterwards; where nothing runs, it needs to do nothing.

    Raises:
        StreamError: another maintenance has held a table for long, or a stream runs although it should pause.
        DependencyUnavailable: the catalog did not answer.
    """
    specs = (*TABLES, *(spec for spec in (DQ_RESULTS, OFFSET_GAPS, CORRECTIONS) if _exists(settings, spec)))
    tables = tuple(_maintain(session, settings, spec, echo=echo, pause=pause, clock=clock) for spec in specs)
    alerts = [alert for table in tables for alert in (*table.expiry.alerts, *breaches(table.after, settings), *table.faults)]
    for alert in alerts:
        echo(f"alert: {alert}")
    return MaintenanceReport(tables, tuple(alerts))


def compact_when_due(
    session: SparkSession, settings: Settings, spec: TableSpec, *, files_then: int, clock: Callable[[], datetime] = utc_now
) -> int:
    """Compact the table when it has `compaction_after_files` data files more than `files_then`.

    Returns the number of files after the last compaction: pass it the next time, and 0 the first time. Leaves tables alone
    that their streams change by MERGE, and those that a maintenance works on.

    Raises:
        StreamError: the compaction failed; the table is as before.
        DependencyUnavailable: the catalog did not answer.
    """
    if spec.is_merged or table_state(settings, spec).files < files_then + settings.compaction_after_files:
        return files_then
    with table_lock(settings, spec.identifier, seconds=0) as held:
        if not held:
            return files_then
        done = compact(session, settings, spec, now=clock())
    LOG.info("%s: %d data files compacted to %d", spec.identifier, done.replaced, done.by)
    return table_state(settings, spec).files


def expire_when_due(
    session: SparkSession, settings: Settings, spec: TableSpec, clock: Callable[[], datetime] = utc_now
) -> Expiry:
    """Expire the table's old snapshots when at least `snapshot_expiry_batch` may go; otherwise it only reads the metadata.

    Does nothing while a maintenance works on the table. The caller owns the checkpoints.

    Raises:
        StreamError: the expiry failed; the table is as before.
        DependencyUnavailable: the catalog did not answer.
    """
    with table_lock(settings, spec.identifier, seconds=0) as held:
        if not held:
            return Expiry(0, 0, ())
        return _expire(session, settings, spec, at_least=settings.snapshot_expiry_batch, clock=clock)


def consumers_of(settings: Settings, spec: TableSpec) -> list[Consumer]:
    """The streams that read a table, with the snapshots of their newest planned and their newest committed batch.

    Both, since a batch that was planned and not committed is run again from where the committed one ends.
    """
    consumers = [_consumer(settings, stream) for stream in STREAMS.values() if stream.reads == spec]
    if spec.is_merged and has_pending_corrections(settings):
        # By the table's snapshots it is known whether a correction that was interrupted had been subtracted.
        consumers.append(Consumer("corrections", ()))
    return consumers


def _consumer(settings: Settings, stream: StreamDefinition) -> Consumer:
    checkpoint = stream.checkpoint(settings)
    committed, planned = newest_committed(checkpoint), newest_planned(checkpoint)
    if committed is None or planned is None:
        return Consumer(stream.name, ())
    ids = {int(read_batch(checkpoint, batch).source["snapshot_id"]) for batch in (committed, planned)}
    return Consumer(stream.name, () if BEFORE_THE_FIRST_SNAPSHOT in ids else tuple(ids))


def _expire(
    session: SparkSession, settings: Settings, spec: TableSpec, *, at_least: int, clock: Callable[[], datetime]
) -> Expiry:
    # What others did to the table is written down before the snapshots that show it are gone.
    for change in note_changes(settings, [spec], now=clock()) if spec in TABLES else ():
        LOG.warning("changed by another program: %s", change.sentence)
    # Positions first: they only move on, so what they protect is still there when the table is read after them.
    consumers = consumers_of(settings, spec)
    with catalog_session(settings) as catalog:
        plan: ExpiryPlan = plan_expiry(load_table(catalog, spec.identifier), settings, consumers, now=clock())
    if plan.expirable < (1 if plan.holds_erased else at_least):
        return Expiry(0, plan.kept + plan.expirable, plan.alerts)
    expire_snapshots(session, settings, spec, plan)
    return Expiry(plan.expirable, plan.kept, plan.alerts)


def _maintain(
    session: SparkSession,
    settings: Settings,
    spec: TableSpec,
    *,
    echo: Callable[[str], None],
    pause: Callable[[str], AbstractContextManager[object]],
    clock: Callable[[], datetime],
) -> TableMaintenance:
    started = time.monotonic()
    with locked_table(settings, spec.identifier):
        before = _measure(settings, spec)
        steps = _Steps(spec.identifier, echo)
        if spec == DQ_RESULTS:
            steps.run(lambda: remove_old_results(settings, now=clock()), otherwise=None)
        with _merging_stream_paused(session, spec, pause):
            compaction = steps.run(lambda: compact(session, settings, spec, now=clock()), otherwise=Compaction(0, 0, 0))
            manifests = 0
            if manifests_are_worth_rewriting(_measure(settings, spec)):
                manifests = steps.run(lambda: rewrite_manifests(session, settings, spec), otherwise=0)
        expiry = steps.run(
            lambda: _expire(session, settings, spec, at_least=1, clock=clock), otherwise=Expiry(0, before.snapshots, ())
        )
        orphans = steps.run(lambda: remove_orphan_files(session, settings, spec, now=clock()), otherwise=0)
        after = _measure(settings, spec)
    done = TableMaintenance(
        before, after, compaction, manifests, expiry, orphans, time.monotonic() - started, tuple(steps.faults)
    )
    echo(maintenance_line(done))
    return done


class _Steps:
    """Runs a table's steps; one that fails is noted, and the next ones are run all the same."""

    def __init__(self, table: str, echo: Callable[[str], None]) -> None:
        self.table, self.echo = table, echo
        self.faults: list[str] = []

    def run(self, step: Callable[[], Done], *, otherwise: Done) -> Done:
        try:
            return step()
        except StreamError as error:
            self.faults.append(error.message)
            self.echo(f"{self.table}: {error.message}")
            return otherwise


def _exists(settings: Settings, spec: TableSpec) -> bool:
    with catalog_session(settings) as catalog:
        return bool(catalog.table_exists(spec.identifier))


def _measure(settings: Settings, spec: TableSpec) -> TableMetrics:
    with catalog_session(settings) as catalog:
        return measure_table(load_table(catalog, spec.identifier), spec.identifier)


@contextmanager
def _merging_stream_paused(
    session: SparkSession, spec: TableSpec, pause: Callable[[str], AbstractContextManager[object]]
) -> Iterator[None]:
    """Pause the stream that merges into the table; one that appends goes on."""
    if not spec.is_merged:
        yield
        return
    name = stream_filling(spec).name
    with pause(name):
        if any(query.name == name for query in session.streams.active):
            raise StreamError(
                f"The stream {name} runs while {spec.identifier} is to be compacted; one of the two would fail.",
                remedy="Pass a `pause` that stops it between batches.",
            )
        yield
