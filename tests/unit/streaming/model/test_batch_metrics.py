"""Reports of batches whose rows the sink read itself: they read as if Spark had counted."""

from __future__ import annotations

from typing import Any

from rtap_assets.quality.batch_totals import counts_of
from rtap_assets.streaming.checkpoints.progress import entry_of
from rtap_assets.streaming.model.batch_metrics import BatchMetrics


def report(query: str, batch_id: int) -> dict[str, Any]:
    return {
        "id": query,
        "runId": "run",
        "batchId": batch_id,
        "timestamp": "2026-03-01T12:00:00.000Z",
        "numInputRows": 0,
        "inputRowsPerSecond": 0.0,
        "processedRowsPerSecond": 0.0,
        "durationMs": {"addBatch": 1_900, "triggerExecution": 2_000},
    }


def test_rows_and_watermark_of_the_sink_take_the_place_of_what_spark_did_not_see() -> None:
    BatchMetrics.put_read("sink-reads", 0, rows=100, watermark_ms=None)
    BatchMetrics.put_read("sink-reads", 1, rows=300, watermark_ms=5_000)
    first, second = (entry_of("gold", BatchMetrics.added_to(report("sink-reads", number))) for number in (0, 1))
    assert (first["input_rows"], first["input_rows_per_second"], first["watermark_ms"]) == (100, None, None)
    assert (second["input_rows"], second["processed_rows_per_second"], second["watermark_ms"]) == (300, 150.0, 5_000)
    assert second["input_rows_per_second"] > 0
    assert counts_of(BatchMetrics.added_to(report("sink-reads", 1))) == {}, "a watermark is no count"


def test_a_report_of_a_batch_that_spark_counted_stays_as_it_is() -> None:
    assert BatchMetrics.added_to(report("spark-reads", 0)) == report("spark-reads", 0)
