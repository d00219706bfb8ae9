"""The demo's proof: ledger, topics and lake reconciled, and each row called late shown to be older than its watermark."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import duckdb

from rtap_assets.config import Settings
from rtap_assets.generator.lateness import LateRecord, late_records
from rtap_assets.generator.reconcile import Line, Reconciliation, reconcile
from rtap_assets.kafka.dead_letters import DeadLetter, dead_letters
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.lake_files import plan_lake
from rtap_assets.streaming.checkpoints import newest_committed
from rtap_assets.streaming.queries import SILVER_STREAM

LEAST_SILVER_BATCHES = 8


@dataclass(frozen=True)
class Proof:
    """The reconciliation with the lines that need more than the lake: the dead-letter topic and the watermarks."""

    reconciliation: Reconciliation
    lines: tuple[Line, ...]
    late: tuple[LateRecord, ...]

    @property
    def holds(self) -> bool:
        return self.reconciliation.holds and all(line.equal for line in self.lines)


def prove(settings: Settings) -> Proof:
    """Compare everything with everything; needs the broker, for the dead-letter topic."""
    letters = dead_letters(settings)
    with closing(connect_lake(settings, plan_lake(settings))) as connection:
        result = reconcile(connection, settings)
        late = late_records(connection, settings)
        lines = (_dead_letter_line(connection, letters), _lateness_line(late))
    return Proof(result, lines, tuple(late))


def silver_batches(settings: Settings) -> int:
    """How many batches silver has committed."""
    newest = newest_committed(SILVER_STREAM.checkpoint(settings))
    return 0 if newest is None else newest + 1


def _dead_letter_line(connection: duckdb.DuckDBPyConnection, letters: set[DeadLetter]) -> Line:
    quarantined = connection.execute(
        "SELECT topic, kafka_partition, kafka_offset, error_reason FROM bronze WHERE error_reason IS NOT NULL"
    ).fetchall()
    expected = {DeadLetter(*row) for row in quarantined}
    name = "invalid = dead letters, by identity and reason"
    return Line(name, str(len(expected)), str(len(letters)), expected == letters)


def _lateness_line(late: list[LateRecord]) -> Line:
    proven = sum(record.is_proven for record in late)
    note = ""
    if late and proven == len(late):
        nearest = min((record for record in late if record.watermark), key=_margin)
        note = f"the nearest by {_margin(nearest):.1f} s, in batch {nearest.silver_batch}"
    return Line("late = older than its batch's watermark", str(len(late)), str(proven), proven == len(late), note)


def _margin(record: LateRecord) -> float:
    return 0.0 if record.watermark is None else (record.watermark - record.event_time).total_seconds()
