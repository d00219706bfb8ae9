"""What the streams measure of themselves, as results of checks: read from the progress of a micro-batch, without Spark.

Call `results_of` with the progress of each committed batch (the JSON of `StreamingQueryProgress`), and publish what it
returns; a batch that read nothing says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, SILVER
from rtap_assets.errors import StreamError
from rtap_assets.quality.catalog import CHECKS, DqResult, judge, share

BRONZE_METRICS, DLQ_METRICS, SILVER_INPUT_METRICS, SILVER_METRICS = "bronze", "dlq", "silver_input", "silver"

DROPPED_COPIES = "numDroppedDuplicateRows"

Counts = Mapping[str, Any]
Judge = Callable[..., DqResult]


def results_of(progress: Mapping[str, Any], settings: Settings) -> list[DqResult]:
    """The results of the checks that this batch measured; [] for another stream or a batch that read nothing.

    Raises:
        StreamError: the progress lacks a count that the running plan must have made.
    """
    observed = progress.get("observedMetrics") or {}
    by_stream = {"bronze": _bronze_results, "dlq": _dlq_results, "silver": _silver_results}
    read = by_stream.get(str(progress.get("name")))
    if read is None or not observed:
        return []
    try:
        return list(read(progress, observed, settings))
    except (KeyError, TypeError, ValueError) as error:
        raise StreamError(
            f"The progress of batch {progress.get('batchId')} of {progress.get('name')} lacks a measurement: {error!r}.",
            remedy="The stream runs another version of the plan: restart it with `rtap streams restart`.",
        ) from error


def _bronze_results(progress: Counts, observed: Counts, settings: Settings) -> Iterator[DqResult]:
    counts = observed[BRONZE_METRICS]
    records, invalid, incomplete, skewed = (int(counts[name]) for name in ("records", "invalid", "incomplete", "skewed"))
    if not records:
        return
    result = _judge_of(progress, BRONZE.identifier, settings)
    valid = records - invalid
    yield result("stream_invalid_share", invalid, records)
    if not valid:
        return  # the others look at valid rows alone, and have looked at none
    yield result("stream_null_share", incomplete, valid)
    delays = {name: counts[name] for name in ("least_delay_ms", "greatest_delay_ms") if counts.get(name) is not None}
    yield result("stream_event_time_skew", skewed, valid, delays)


def _dlq_results(progress: Counts, observed: Counts, settings: Settings) -> Iterator[DqResult]:
    counts = {reason: int(count) for reason, count in observed[DLQ_METRICS].items() if int(count)}
    letters, most = sum(counts.values()), max(counts.values(), default=0)
    result = _judge_of(progress, BRONZE.identifier, settings)
    yield result("stream_quarantined", most, letters, counts, observed=float(most))


def _silver_results(progress: Counts, observed: Counts, settings: Settings) -> Iterator[DqResult]:
    counts, read = observed[SILVER_METRICS], int(observed[SILVER_INPUT_METRICS]["events"])
    if not read:
        return
    kept = int(counts["events"])
    late, copies = dropped_late(progress), dropped_copies(progress)
    result = _judge_of(progress, SILVER.identifier, settings)
    if kept:
        yield result("stream_null_share", int(counts["incomplete"]), kept)
    yield result("stream_duplicate_share", copies, read)
    yield result("stream_late_share", late, read)
    missing = abs(read - kept - copies - late)
    yield result(
        "stream_conservation", missing, read, {"kept": kept, "copies": copies, "late": late}, observed=float(missing)
    )
    if kept:
        started_ms = instant(progress["timestamp"]).timestamp() * 1000
        delay_seconds = max(0.0, (started_ms - int(counts["newest_kafka_ms"])) / 1000)
        yield result("stream_delay", 0, kept, _event_times(counts), observed=delay_seconds)


def dropped_late(progress: Counts) -> int:
    """Rows that the batch dropped because they were older than the watermark."""
    return sum(int(operator.get("numRowsDroppedByWatermark", 0)) for operator in progress.get("stateOperators") or [])


def dropped_copies(progress: Counts) -> int:
    """Rows that the batch dropped because their event had been seen."""
    operators = progress.get("stateOperators") or []
    return sum(int((operator.get("customMetrics") or {}).get(DROPPED_COPIES, 0)) for operator in operators)


def instant(text: str) -> datetime:
    """An instant of the progress, for example `2026-03-01T12:00:00.000Z`."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _judge_of(progress: Counts, table: str, settings: Settings) -> Judge:
    started = instant(progress["timestamp"])
    ended = started + timedelta(milliseconds=int((progress.get("durationMs") or {}).get("triggerExecution", 0)))

    def result(
        name: str, failed: int, checked: int, detail: Mapping[str, object] | None = None, *, observed: float | None = None
    ) -> DqResult:
        return judge(
            CHECKS[table, name],
            settings,
            evaluation=f"{progress['id']}/{progress['batchId']}",
            observed=share(failed, checked) if observed is None else observed,
            rows_checked=checked,
            rows_failed=failed,
            measured_from=started,
            measured_at=ended,
            batch_id=int(progress["batchId"]),
            detail=detail,
        )

    return result


def _event_times(counts: Counts) -> dict[str, object]:
    span_seconds = (int(counts["newest_event_ms"]) - int(counts["oldest_event_ms"])) / 1000
    return {"event time span (s)": span_seconds}
