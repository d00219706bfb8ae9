"""Corrections for callers: the run that looks by itself, and rows that others hand in to be added."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts.corrections import CORRECTIONS, Cause, Entry
from rtap_assets.contracts.tables import SILVER
from rtap_assets.errors import StreamError
from rtap_assets.lake.corrections import ensure_corrections, read_state, set_position
from rtap_assets.streaming.operations.corrections.apply import carry_out
from rtap_assets.streaming.operations.corrections.ledger import Correction, PlannedRows, write_end, write_plan
from rtap_assets.streaming.operations.corrections.plan import Findings, findings
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.transforms.silver import ARRIVAL_ORDER

LATE_WHY = "valid, and older than silver's watermark when its stream read it"
COPY_WHY = "a later copy of an event that counts already"


@dataclass(frozen=True)
class CorrectionReport:
    """What a run did: rows changed by cause, corrections ended, and those that wait for gold.

    `finished` are corrections of earlier runs; `is_waiting_for_gold`: copies are looked for once gold has read silver.
    """

    late: int
    later_copies: int
    looked_at: int
    finished: int
    pending: int
    is_waiting_for_gold: bool
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def correct(run: CorrectionRun, *, dry_run: bool = False) -> CorrectionReport:
    """Finish what is pending, then add late rows and remove later copies that came since the last run.

    Time: within `correction_horizon_days` an event counts once, by the time at which the broker had its copies.
    Raises:
        StreamError: a table is held by a maintenance, or a change failed repeatedly. What was begun is finished by the next
            run.
        DependencyUnavailable: broker, registry or catalog did not answer; likewise.
    """
    ensure_corrections(run.settings)
    with run.locked(CORRECTIONS), run.locked(SILVER):
        if dry_run:
            with findings(run) as found:
                return _report(run, found, finished=0, dry_run=True)
        finished = finish_pending(run)
        with findings(run) as found:
            _correct(run, found)
            if found.position is not None:
                set_position(run.settings, found.position)
            run.on_step("positioned")
            report = _report(run, found, finished=finished)
    run.echo(_report_line(report))
    return report


def add_rows(run: CorrectionRun, rows: DataFrame, *, cause: Cause, why: str) -> int:
    """Add rows of silver's columns whose event silver does not hold, each event once; returns how many were added.

    The rows must come from records that silver's stream has read and never takes again. They reach gold through its stream.

    Raises:
        StreamError, DependencyUnavailable: as `correct`.
    """
    ensure_corrections(run.settings)
    with run.locked(CORRECTIONS), run.locked(SILVER):
        finish_pending(run)
        first = rows.select(*SILVER.column_names).orderBy(*ARRIVAL_ORDER).dropDuplicates(["event_id"])
        held = run.table(SILVER).select("event_id").join(F.broadcast(first.select("event_id")), "event_id", "left_semi")
        lacking = first.join(held, "event_id", "left_anti").persist()
        try:
            return _change(run, cause, why, adds=lacking)[0]
        finally:
            lacking.unpersist()


def finish(run: CorrectionRun) -> int:
    """Finish what waited for gold, once gold has read it; returns how many corrections have ended.

    Raises:
        StreamError, DependencyUnavailable: as `correct`.
    """
    with run.locked(CORRECTIONS), run.locked(SILVER):
        return finish_pending(run)


def finish_pending(run: CorrectionRun) -> int:
    """Finish the corrections that were begun and not ended; returns how many have ended. The caller holds the locks."""
    pending = read_state(run.settings).pending
    return sum(carry_out(run, Correction.from_header(header)) for header in pending)


def end_before_rebuild(run: CorrectionRun, *, silver_too: bool) -> None:
    """End what is pending before gold is built again from silver, or both from bronze: neither needs a change of its own.

    Raises:
        StreamError, DependencyUnavailable: as `correct`.
    """
    with run.locked(CORRECTIONS), run.locked(SILVER):
        for header in read_state(run.settings).pending:
            correction = Correction.from_header(header)
            if silver_too and correction.cause is not Cause.ERASED:
                write_end(run, correction, Entry.ABANDONED, [])
            else:
                carry_out(run, correction, gold_is_rebuilt=True)


def finish_before_rebuild(run: CorrectionRun) -> None:
    """Finish what is pending before some of the tables that corrections subtract from are built again.

    Raises:
        StreamError: a correction still waits for a stream; or as `correct`.
        DependencyUnavailable: as `correct`.
    """
    finish(run)
    if read_state(run.settings).pending:
        raise StreamError(
            "A correction waits for the streams of gold to read the rows that it added.",
            remedy="Drain the streams, then rebuild again; nothing was removed.",
        )


def _correct(run: CorrectionRun, found: Findings) -> None:
    if found.late is not None:
        _change(run, Cause.LATE, LATE_WHY, adds=found.late)
    if found.copies is not None or found.first_copies is not None:
        _change(run, Cause.LATER_COPY, COPY_WHY, adds=found.first_copies, removes=found.copies)


def _change(
    run: CorrectionRun, cause: Cause, why: str, *, adds: DataFrame | None = None, removes: DataFrame | None = None
) -> tuple[int, int]:
    added, removed = (0 if frame is None else int(frame.count()) for frame in (adds, removes))
    if not added and not removed:
        return 0, 0
    correction = Correction(uuid4().hex, cause, why, run.run_id, run.requested_by, rows_added=added, rows_removed=removed)
    write_plan(run, correction, PlannedRows(adds=adds if added else None, removes=removes if removed else None))
    run.on_step("planned")
    carry_out(run, correction, adds if added else None)
    return added, removed


def _report(run: CorrectionRun, found: Findings, *, finished: int, dry_run: bool = False) -> CorrectionReport:
    return CorrectionReport(
        late=found.counts["late"],
        later_copies=found.counts["copies"],
        looked_at=found.counts["looked_at"],
        finished=finished,
        pending=len(read_state(run.settings).pending),
        is_waiting_for_gold=found.is_waiting_for_gold,
        dry_run=dry_run,
    )


def _report_line(report: CorrectionReport) -> str:
    """One line of a log."""
    verb = "would be " if report.dry_run else ""
    parts = [
        f"{report.looked_at:,} new rows looked at",
        f"{report.late:,} late rows {verb}added",
        f"{report.later_copies:,} later copies {verb}removed",
    ]
    if report.finished:
        parts.append(f"{report.finished} earlier corrections finished")
    if report.pending:
        parts.append(f"{report.pending} corrections wait for gold")
    if report.is_waiting_for_gold:
        parts.append("copies are looked for once gold has read silver")
    return "; ".join(parts)
