"""Carries a written correction out: silver, then gold, then its end. Every step may be repeated, and none is done twice.

Rows are added before others are removed, so that an event is never missing. Rows that are added reach gold through its
stream; rows that are removed are subtracted from it. Until the end is written, gold's snapshots do not expire: by them a
repeated subtraction is recognized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts.corrections import Cause, Change, Entry
from rtap_assets.contracts.offset_gaps import GapKind, OffsetGap
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import STAMP_CAUSE, STAMP_CORRECTION_ID, added_files, ancestors, summary_value
from rtap_assets.lake.offset_gaps import record_gaps
from rtap_assets.streaming.operations.corrections.ledger import Correction, planned_rows, write_end
from rtap_assets.streaming.operations.corrections.plan import gold_has_read
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun, stamped_session
from rtap_assets.streaming.queries.gold_sink import subtract_rows
from rtap_assets.streaming.queries.revenue_windows import REVENUE_WINDOWS
from rtap_assets.transforms.corrections import window_changes, with_first_epoch
from rtap_assets.transforms.gold import GROUP, MEASURES
from rtap_assets.transforms.silver import COORDINATES

DELETE_ATTEMPTS = 4
DELETE_ISOLATION = "write.delete.isolation-level"
REMOVED_VIEW = "rtap_removed_rows"


def carry_out(
    run: CorrectionRun, correction: Correction, adds: DataFrame | None = None, *, gold_is_rebuilt: bool = False
) -> bool:
    """Carry the written correction out; returns whether it has ended, False while gold has not read what was added.

    `gold_is_rebuilt`: gold is about to be built from silver as it is then, and needs no change of its own. `adds` are the
    complete rows to add in the run that planned them. A later run has the plan alone: what was not added by
    then is given up, since nothing was changed yet and the next look finds it again.

    Raises:
        StreamError: a table is held by a maintenance, or a change of silver failed repeatedly. The correction stays pending.
        DependencyUnavailable: broker, registry or catalog did not answer. The correction stays pending.
    """
    if adds is not None:
        _append(run, correction, adds)
        run.on_step("added")
    elif correction.rows_added and not _is_added(run, correction):
        write_end(run, correction, Entry.ABANDONED, [])
        run.echo(f"correction {correction.correction_id} ({correction.cause}) was given up before it changed anything")
        return True
    changes_gold = correction.cause is not Cause.ERASED and not gold_is_rebuilt
    has_removed = correction.rows_removed or correction.bronze_rows_removed
    removes = planned_rows(run, correction, Change.REMOVE) if has_removed else None
    if removes is not None:
        _remove(run, correction, removes, changes_gold=changes_gold)
    if correction.rows_added and changes_gold and not _gold_has_read(run, correction):
        run.echo(f"correction {correction.correction_id}: gold has not read the added rows yet")
        return False
    windows = _restated_windows(run, correction, removes) if changes_gold else []
    write_end(run, correction, Entry.DONE, windows)
    run.on_step("done")
    return True


def _remove(run: CorrectionRun, correction: Correction, rows: DataFrame, *, changes_gold: bool) -> None:
    """Remove the rows from silver, and from bronze for an erasure; subtract them from each table of revenue windows."""
    _remove_rows_at(run, SILVER, rows, correction)
    run.on_step("removed")
    if correction.cause is Cause.ERASED:
        # First the reason, then the deed: a pass that looks for gaps would ask the broker about them otherwise.
        record_gaps(run.settings, _erased_gaps(rows, detail=f"correction {correction.correction_id}"))
        with run.locked(BRONZE):
            _remove_rows_at(run, BRONZE, rows, correction)
        run.on_step("removed from bronze")
    if changes_gold:
        session = stamped_session(run.session, {})
        removed = session.createDataFrame(rows.toArrow())
        for name, windows_in in REVENUE_WINDOWS.items():
            windows = windows_in(run.settings)
            with run.locked(windows.table), run.pause(name):
                subtract_rows(
                    session,
                    run.settings,
                    windows,
                    removed,
                    correction_id=correction.correction_id,
                    cause=str(correction.cause),
                )
        run.on_step("subtracted")


def _remove_rows_at(run: CorrectionRun, spec: TableSpec, rows: DataFrame, correction: Correction) -> None:
    """Delete the rows at these coordinates from a table, in one copy-on-write commit; nothing where none is left.

    Raises:
        StreamError: it failed repeatedly.
    """
    bounds = rows.agg(F.min("kafka_offset"), F.max("kafka_offset")).first()
    if bounds is None or bounds[0] is None:
        return
    near = F.col("kafka_offset").between(bounds[0], bounds[1])
    wanted = F.broadcast(rows.select(*COORDINATES))
    present = with_first_epoch(run.table(spec).where(near)).join(wanted, list(COORDINATES), "left_semi")
    if present.isEmpty():
        return
    _allow_concurrent_appends(run, spec)
    stamp = {STAMP_CORRECTION_ID: correction.correction_id, STAMP_CAUSE: str(correction.cause)}
    session = stamped_session(run.session, stamp)
    # Through Arrow: a view belongs to its session, and a DataFrame cannot be moved to another.
    coordinates = session.createDataFrame(rows.select(*COORDINATES).toArrow()).localCheckpoint()
    coordinates.createOrReplaceTempView(REMOVED_VIEW)
    own = {name: f"t.{name}" for name in COORDINATES} | {"topic_epoch": "coalesce(t.topic_epoch, 0)"}
    same = " AND ".join(f"r.{name} = {column}" for name, column in own.items())
    statement = (
        f"DELETE FROM {run.name(spec)} t WHERE t.kafka_offset BETWEEN {bounds[0]} AND {bounds[1]} "
        f"AND EXISTS (SELECT 1 FROM {REMOVED_VIEW} r WHERE {same})"
    )
    for attempt in range(1, DELETE_ATTEMPTS + 1):
        try:
            session.sql(statement)
            return
        except PySparkException as error:
            if attempt == DELETE_ATTEMPTS:
                cause = str(error).strip().splitlines()[0]
                raise StreamError(
                    f"Rows of {spec.identifier} could not be removed: {cause}.",
                    remedy="The correction stays pending; the next run goes on with it. The details are in spark.log.",
                ) from error
            run.echo(f"{spec.identifier}: removing rows failed, attempt {attempt} of {DELETE_ATTEMPTS}")


def _allow_concurrent_appends(run: CorrectionRun, spec: TableSpec) -> None:
    """Let a delete commit although streams append meanwhile: what they append is never what is deleted."""
    with open_catalog(run.settings) as catalog:
        properties = load_table(catalog, spec.identifier).properties
    if properties.get(DELETE_ISOLATION) != "snapshot":
        run.session.sql(f"ALTER TABLE {run.name(spec)} SET TBLPROPERTIES ('{DELETE_ISOLATION}' = 'snapshot')")


def _erased_gaps(rows: DataFrame, *, detail: str) -> list[OffsetGap]:
    """Return the offsets of erased rows as ranges without holes."""
    gaps: list[OffsetGap] = []
    for topic, epoch, partition, offset in rows.select(*COORDINATES).distinct().orderBy(*COORDINATES).collect():
        last = gaps[-1] if gaps else None
        is_next = last is not None and (last.topic, last.topic_epoch, last.kafka_partition) == (topic, epoch, partition)
        if last is not None and is_next and last.last_offset + 1 == offset:
            gaps[-1] = replace(last, last_offset=offset, records=last.records + 1)
        else:
            gaps.append(OffsetGap(topic, partition, offset, offset, 1, GapKind.ERASED, detail, topic_epoch=epoch))
    return gaps


def _restated_windows(run: CorrectionRun, correction: Correction, removes: DataFrame | None) -> list[dict[str, Any]]:
    """The windows that the correction touched: gold's measures now, and what they were without the correction."""
    changes = [] if removes is None else [_changes(run, removes, sign=1)]
    if correction.rows_added:
        changes.append(_changes(run, planned_rows(run, correction, Change.ADD), sign=-1))
    both = changes[0] if len(changes) == 1 else changes[0].unionByName(changes[1])
    key = ("window_start", "window_end", *GROUP)
    summed = both.groupBy(*key).agg(*(F.sum(name).alias(f"delta_{name}") for name in MEASURES)).localCheckpoint()
    gold = run.table(GOLD).select(*GOLD.key, *MEASURES, "revision")
    joined = summed.join(gold, list(GOLD.key), "left")
    columns = []
    for name in MEASURES:
        kind = gold.schema[name].dataType
        after = F.coalesce(F.col(name), F.lit(0)).cast(kind)
        columns += [(after + F.col(f"delta_{name}")).cast(kind).alias(f"from_{name}"), after.alias(f"to_{name}")]
    rows: list[dict[str, Any]] = joined.select(*key, *columns, "revision").toArrow().to_pylist()
    return rows


def _changes(run: CorrectionRun, rows: DataFrame, *, sign: int) -> DataFrame:
    settings = run.settings
    return window_changes(rows, window_seconds=settings.window_seconds, slide_seconds=settings.slide_seconds, sign=sign)


def _append(run: CorrectionRun, correction: Correction, adds: DataFrame) -> None:
    target = adds.writeTo(run.name(SILVER))
    target = target.option(f"snapshot-property.{STAMP_CAUSE}", str(correction.cause))
    target.option(f"snapshot-property.{STAMP_CORRECTION_ID}", correction.correction_id).append()


def _is_added(run: CorrectionRun, correction: Correction) -> bool:
    """Whether silver holds the rows to add: by the snapshot, or by a row where that has expired."""
    if _snapshots_of(run, correction.correction_id):
        return True
    rows = planned_rows(run, correction, Change.ADD)
    bounds = rows.agg(F.min("kafka_offset"), F.max("kafka_offset")).first()
    assert bounds is not None
    near = with_first_epoch(run.table(SILVER).where(F.col("kafka_offset").between(bounds[0], bounds[1])))
    return not near.join(F.broadcast(rows.select(*COORDINATES)), list(COORDINATES), "left_semi").isEmpty()


def _gold_has_read(run: CorrectionRun, correction: Correction) -> bool:
    """Whether gold's stream has read the rows that the correction added; waits a while for it."""
    appended = [one for one in _snapshots_of(run, correction.correction_id) if added_files(one)]
    # Where it has expired, gold has read it: nothing expires before.
    return not appended or gold_has_read(run, appended[0])


def _snapshots_of(run: CorrectionRun, correction_id: str) -> Sequence[Any]:
    with open_catalog(run.settings) as catalog:
        chain = ancestors(load_table(catalog, SILVER.identifier))
    return [one for one in chain if summary_value(one, STAMP_CORRECTION_ID) == correction_id]
