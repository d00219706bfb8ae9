"""What batches counted, added up by stream and count."""

from __future__ import annotations

from quality_fixtures import batch_report

from rtap_assets.quality.batch_totals import BatchTotals

DROPPED = [{"numRowsDroppedByWatermark": 2, "customMetrics": {"numDroppedDuplicateRows": 5}}]


def test_counts_of_batches_add_up_by_stream() -> None:
    totals = BatchTotals()
    totals.add(batch_report("bronze", observed={"bronze": {"records": 100, "invalid": 3}}))
    totals.add(batch_report("bronze", observed={"bronze": {"records": 50, "invalid": 0}}))
    totals.add(batch_report("dlq", observed={"dlq": {"bad_magic": 2, "too_short": 1}}))
    totals.add(batch_report("silver", stateOperators=DROPPED))
    totals.add(batch_report("silver", stateOperators=DROPPED))
    assert totals.read() == {
        ("bronze", "records"): 150,
        ("bronze", "invalid"): 3,
        ("dlq", "bad_magic"): 2,
        ("dlq", "too_short"): 1,
        ("silver", "late"): 4,
        ("silver", "copies"): 10,
    }


def test_a_batch_that_counted_nothing_adds_nothing() -> None:
    totals = BatchTotals()
    totals.add(batch_report("gold"))
    totals.add({"name": "gold"})
    assert totals.read() == {}
