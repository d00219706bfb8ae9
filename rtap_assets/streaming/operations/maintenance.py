"""Maintenance of the layers' tables and of that of quality results, by whoever owns the checkpoints: they say what is read.

`maintain_tables` is the whole of it and takes minutes; `expire_when_due` belongs to the write path, which adds a snapshot a
batch: call it every few minutes. Both work beside running streams; only gold is paused for its compaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import CORRECTIONS
from rtap_assets.contracts.offset_gaps import OFFSET_GAPS
from rtap_assets.contracts.tables import DQ_RESULTS, GOLD, TABLES, TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import catalog_session, load_table
from rtap_assets.lake.corrections import has_pending_corrections
from rtap_assets.lake.history.retention import Consumer, ExpiryPlan, plan_expiry
from rtap_assets.lake.maintenance import (
    Compaction,
    compact_closed_partitions,
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
from rtap_assets.streaming.checkpoints.files import BEFORE_THE_FIRST_SNAPSHOT, newest_committed, newest_planned, read_batch
from rtap_assets.streaming.queries.definitions import GOLD_STREAM, STREAMS, StreamDefinition

Done = TypeVar("Done")
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expiry:
    """What an expiry did: snapshots gone and kept, and the alerts of consumers that hold back more."""

    expired: int
    kept: int
    alerts: tuple[str, ...]


@dataclass(frozen=True)
class TableMaintenance:
    """What was done to one table; `faults` are steps that failed and are tried again next time."""

    before: TableMetrics
    after: TableMetrics
    compaction: Compaction
    manifests_rewritten: int
    expiry: Expiry
    orphans_removed: int
    seconds: float
    faults: tuple[str, ...]


@dataclass(frozen=True)
class MaintenanceReport:
    """One maintenance of all tables. `alerts` need a person: consumers far behind, metrics above their bounds, faults."""

    tables: tuple[TableMaintenance, ...]
    alerts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def maintain_tables(
    session: SparkSession,
    settings: Settings,
    *,
    echo: Callable[[str], None],
    pause_gold: Callable[[], AbstractContextManager[object]] = nullcontext,
    clock: Callable[[], datetime] = utc_now,
) -> MaintenanceReport:
    """Compact, rewrite manifests, expire snapshots and remove orphan files, table by table.

    The caller owns the checkpoints (`open_layers`). While streams run, `pause_gold` stops gold's between batches when the
    block is entered and lets it go on afterwards; where nothing runs, it needs to do nothing.

    Raises:
        StreamError: another maintenance has held a table for long, or gold's stream runs although it should pause.
        DependencyUnavailable: the catalog did not answer.
    """
    specs = (*TABLES, *(spec for spec in (DQ_RESULTS, OFFSET_GAPS, CORRECTIONS) if _exists(settings, spec)))
    tables = tuple(_maintain(session, settings, spec, echo=echo, pause_gold=pause_gold, clock=clock) for spec in specs)
    alerts = [alert for table in tables for alert in (*table.expiry.alerts, *breaches(table.after, settings), *table.faults)]
    for alert in alerts:
        echo(f"alert: {alert}")
    return MaintenanceReport(tables, tuple(alerts))


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
    if spec == GOLD and has_pending_corrections(settings):
        # By gold's snapshots it is known whether a correction that was interrupted had been subtracted.
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
    pause_gold: Callable[[], AbstractContextManager[object]],
    clock: Callable[[], datetime],
) -> TableMaintenance:
    started = time.monotonic()
    with locked_table(settings, spec.identifier):
        before = _measure(settings, spec)
        steps = _Steps(spec.identifier, echo)
        if spec == DQ_RESULTS:
            steps.run(lambda: remove_old_results(settings, now=clock()), otherwise=None)
        with pause_gold() if spec == GOLD else nullcontext():
            if spec == GOLD:
                _require_paused_gold(session)
            compaction = steps.run(
                lambda: compact_closed_partitions(session, settings, spec, now=clock()), otherwise=Compaction(0, 0, 0)
            )
            manifests = 0
            if manifests_are_worth_rewriting(_measure(settings, spec), settings):
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


def maintenance_line(done: TableMaintenance) -> str:
    """One line of a log: what was done to a table."""
    before, after, compaction = done.before, done.after, done.compaction
    parts = [
        f"{before.snapshots:,} -> {after.snapshots:,} snapshots",
        f"{before.manifests:,} -> {after.manifests:,} manifests",
        f"{before.metadata_bytes:,} -> {after.metadata_bytes:,} bytes of metadata",
        f"{before.data_files:,} -> {after.data_files:,} data files ({compaction.replaced:,} compacted to {compaction.by:,})",
        f"{done.orphans_removed:,} orphan files removed",
        f"{done.seconds:.1f} s",
    ]
    return f"{after.table}: {', '.join(parts)}"


def _exists(settings: Settings, spec: TableSpec) -> bool:
    with catalog_session(settings) as catalog:
        return bool(catalog.table_exists(spec.identifier))


def _measure(settings: Settings, spec: TableSpec) -> TableMetrics:
    with catalog_session(settings) as catalog:
        return measure_table(load_table(catalog, spec.identifier), spec.identifier)


def _require_paused_gold(session: SparkSession) -> None:
    if any(query.name == GOLD_STREAM.name for query in session.streams.active):
        raise StreamError(
            "Gold's stream runs while gold is to be compacted; one of the two would fail.",
            remedy="Pass a `pause_gold` that stops it between batches.",
        )
