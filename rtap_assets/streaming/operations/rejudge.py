"""Quarantined rows judged again from their raw bytes, after the contract, a setting or the registry was put right.

Bronze gets the new verdicts in one commit; events that are valid now are then added to silver as late rows are, and reach
gold through its stream. Both steps find out by themselves what is left to do: repeated, or killed between or inside them,
they change nothing twice. The followers of bronze skip the commit, so no dead letter is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, Self
from uuid import uuid4

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts.corrections import Cause
from rtap_assets.contracts.selection import Selection
from rtap_assets.contracts.tables import BRONZE, REJUDGED_COLUMNS, SILVER
from rtap_assets.errors import ConfigurationError
from rtap_assets.lake.history.snapshots import STAMP_CAUSE, STAMP_CORRECTION_ID
from rtap_assets.lake.merge import between, merge_statement
from rtap_assets.streaming.operations.corrections.api import add_rows
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun, stamped_session
from rtap_assets.streaming.operations.record_judge import judge_records
from rtap_assets.transforms.silver import rejudged_sales_events, stamp_processing

VALID = "valid"
JUDGED_VIEW = "judged_again"
# With the timestamp: a topic that was made again has the same offsets again.
COORDINATES = ("topic", "kafka_partition", "kafka_offset", "kafka_timestamp")
UNCHANGED = frozenset({*BRONZE.key, *COORDINATES, "raw_key", "raw_value", "kafka_headers"})
UPDATED = tuple(name for name in BRONZE.column_names if name not in UNCHANGED)

WHY = "judged again from its raw bytes, and valid now"


@dataclass(frozen=True)
class RejudgeOptions:
    """What to judge again; without `apply` nothing is changed, and the outcome is counted."""

    selection: Selection
    apply: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"selection": self.selection.to_json(), "apply": self.apply}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the options that `to_json` wrote. Raises ConfigurationError where something is unknown or not valid."""
        if unknown := sorted(document.keys() - {"selection", "apply"}):
            raise ConfigurationError(f"Judging again has no option {', '.join(unknown)}.")
        return cls(Selection.from_json(document.get("selection") or {}), apply=document.get("apply") is True)


def rejudge(run: CorrectionRun, options: RejudgeOptions) -> dict[str, Any]:
    """Judge the selected rows again; returns `judged`, `changed`, `added` and the `changes` from reason to verdict.

    Works beside running streams. Silver gets what an earlier, interrupted call has left, too.

    Raises:
        StreamError: a maintenance has held a table for long.
        DependencyUnavailable: broker, registry or catalog did not answer. What was begun is finished by the next call.
    """
    if not options.apply:
        return _report(_changes(_judged(run, options.selection)), correction_id="")
    correction_id = f"rejudge-{uuid4().hex[:12]}"
    with run.locked(BRONZE):
        # Computed once: the counts are those of the rows that are written.
        judged = _judged(run, options.selection).localCheckpoint()
        report = _report(_changes(judged), correction_id=correction_id)
        if report["changed"]:
            _write(judged, run, correction_id=correction_id, at=run.clock())
            run.on_step("judged")
    for change in report["changes"]:
        run.echo(f"{change['rows']:,} rows: {change['from']} → {change['to']}")
    return report | {"added": _add_rejudged(run)}


def _add_rejudged(run: CorrectionRun) -> int:
    """Add to silver, marked `is_late`, each event of a re-judged row that silver lacks; returns how many there were.

    Raises: like `rejudge`.
    """
    rows = stamp_processing(rejudged_sales_events(run.table(BRONZE), run.table(SILVER)))
    added = add_rows(run, rows, cause=Cause.REJUDGED, why=WHY)
    run.echo(f"{added:,} re-judged events added to {SILVER.identifier}")
    return added


def _judged(run: CorrectionRun, selection: Selection) -> DataFrame:
    """The selected rows as they are judged now, with the reason that they have had as `rejudged_from`."""
    rows = run.table(BRONZE).where(selection.where())
    if selection.limit:
        rows = rows.orderBy("kafka_timestamp", "kafka_partition", "kafka_offset").limit(selection.limit)
    present = F.coalesce("topic_epoch", F.lit(0))
    epochs = [int(row[0]) for row in rows.select(present).distinct().collect()] or [0]
    return reduce(DataFrame.union, (_judged_in(run, rows.where(present == epoch), epoch) for epoch in epochs))


def _judged_in(run: CorrectionRun, rows: DataFrame, topic_epoch: int) -> DataFrame:
    """The rows of one epoch of the topic as they are judged now."""
    records = rows.select(
        F.col("raw_key").alias("key"),
        F.col("raw_value").alias("value"),
        "topic",
        F.col("kafka_partition").alias("partition"),
        F.col("kafka_offset").alias("offset"),
        F.col("kafka_timestamp").alias("timestamp"),
        F.col("kafka_headers").alias("headers"),
    )
    judged = judge_records(records, run.settings, topic_epoch=topic_epoch)
    changing = judged.drop("raw_key", "raw_value", "kafka_headers", *REJUDGED_COLUMNS)
    places = ("topic", "kafka_partition", "kafka_offset")
    return changing.join(rows.select(*places, F.col("error_reason").alias("rejudged_from")), list(places))


def _changes(judged: DataFrame) -> list[dict[str, Any]]:
    """How many rows went from which reason to which verdict, most first; those that stay as they are among them."""
    verdict = F.coalesce("error_reason", F.lit(VALID))
    counted = judged.groupBy(F.col("rejudged_from").alias("from"), verdict.alias("to")).agg(F.count(F.lit(1)).alias("rows"))
    return sorted(counted.toArrow().to_pylist(), key=lambda row: (-row["rows"], row["from"], row["to"]))


def _report(changes: list[dict[str, Any]], *, correction_id: str) -> dict[str, Any]:
    changed = sum(change["rows"] for change in changes if change["from"] != change["to"])
    judged = sum(change["rows"] for change in changes)
    return {"correction_id": correction_id, "judged": judged, "changed": changed, "changes": changes, "added": 0}


def _write(judged: DataFrame, run: CorrectionRun, *, correction_id: str, at: datetime) -> None:
    """Give bronze's rows their new verdicts, in one commit; rows whose verdict is another one by now are left alone."""
    table = run.name(BRONZE)
    changed = judged.where(~F.col("error_reason").eqNullSafe(F.col("rejudged_from")))
    changed = changed.withColumn("rejudged_at", F.lit(at.isoformat()).cast("timestamp"))
    first, last = changed.agg(F.min("kafka_timestamp").cast("string"), F.max("kafka_timestamp").cast("string")).first()
    stamp = {STAMP_CORRECTION_ID: correction_id, STAMP_CAUSE: str(Cause.REJUDGED)}
    session = stamped_session(run.session, stamp)
    DataFrame(changed._jdf, session).createOrReplaceTempView(JUDGED_VIEW)
    # The stream appends meanwhile: new rows match nothing, and must not make this commit fail.
    session.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('write.merge.isolation-level'='snapshot')")
    present = {"topic_epoch": "coalesce(t.topic_epoch, 0)"}
    keys = [f"{present.get(name, f't.{name}')} = s.{name}" for name in BRONZE.key]
    on = [*keys, between("t.kafka_timestamp", first, last), "t.error_reason = s.rejudged_from"]
    session.sql(merge_statement(table, JUDGED_VIEW, on=on, updates=UPDATED))
