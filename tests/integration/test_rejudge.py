"""Quarantined rows judged again after their cause was put right: exact in silver and gold, once, killed anywhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from event_bytes import Record, body, event, event_id, framed
from pyspark.sql import SparkSession
from stream_fixtures import ask, drain, received, send

from rtap_assets.config import Settings
from rtap_assets.contracts.selection import Selection
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import STAMP_CORRECTION_ID, ancestors, summary_value
from rtap_assets.registry.client import Registry
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.operations.rejudge import RejudgeOptions, rejudge

GOLD_TOTAL = "SELECT coalesce(sum(net_amount), 0) FROM gold WHERE epoch_us(window_start) % 300000000 = 0"
EVERYTHING = RejudgeOptions(Selection(), apply=True)


class Killed(BaseException):
    """The process is gone."""


def counted(settings: Settings) -> list[Any]:
    """Bronze's verdicts, silver's rows and money, gold's money."""
    return [
        dict(ask(settings, "SELECT coalesce(error_reason, 'valid'), count(*) FROM bronze GROUP BY 1")),
        ask(settings, "SELECT count(*), count(DISTINCT event_id), coalesce(sum(net_amount), 0) FROM silver")[0],
        ask(settings, GOLD_TOTAL)[0][0],
    ]


def test_rows_are_counted_once_their_cause_is_put_right(spark: SparkSession, streams: Settings) -> None:
    settings = streams.model_copy(
        update={"event_time_past_seconds": 86_400, "max_event_bytes": 200, "correction_wait_seconds": 0}
    )
    now = datetime.now(UTC).replace(microsecond=0)
    (v1, *_) = Registry(settings).versions(settings.events_subject)
    long = {"product_id": "x" * 200}  # beyond what the setting allows at first

    def judge(now_set: Settings, options: RejudgeOptions, **more: Any) -> dict[str, Any]:
        return rejudge(CorrectionRun(spark, now_set, **more), options)

    def good(number: int, **changes: Any) -> dict[str, Any]:
        return event(now, event_id=event_id(number), **changes)

    old = {"event_time": now - timedelta(days=3), "ingest_time": now - timedelta(minutes=1)}
    records = [Record(framed(v1, body(good(n)))) for n in range(1, 6)]
    records += [Record(framed(v1, body(good(n, **long)))) for n in range(6, 9)]
    records += [Record(framed(v1, body(good(n, **old)))) for n in range(9, 13)]
    records += [Record(framed(v1, body(good(13, region="moon", **long))))]
    records += [Record(b"\x00\x00\x00")]
    # The same event twice: once too large for now, once good.
    records += [Record(framed(v1, body(good(1, **long))))]
    send(settings, records)
    drain(spark, settings)
    start = counted(settings)
    assert start == [
        {"valid": 5, "oversized": 5, "event_time_too_old": 4, "too_short": 1},
        (5, 5, Decimal("62.5000")),
        Decimal("62.5000"),
    ]
    letters = len(received(settings, settings.topic_dlq))

    # Nothing was put right yet: the same verdicts.
    assert judge(settings, EVERYTHING)["changed"] == 0
    assert counted(settings) == start

    settings = settings.model_copy(update={"event_time_past_seconds": 30 * 86_400, "max_event_bytes": 131_072})
    changes = [
        {"from": "event_time_too_old", "to": "valid", "rows": 4},
        {"from": "oversized", "to": "valid", "rows": 4},
        {"from": "oversized", "to": "unknown_region", "rows": 1},
        {"from": "too_short", "to": "too_short", "rows": 1},
    ]
    planned = judge(settings, RejudgeOptions(Selection()))
    assert (planned["judged"], planned["changed"], planned["changes"]) == (10, 9, changes)
    assert counted(settings) == start

    # A part of them, then killed between bronze and silver.
    chosen = RejudgeOptions(Selection(reasons=("event_time_too_old",), partition=0, limit=10), apply=True)

    def kill(step: str) -> None:
        raise Killed(step)

    with pytest.raises(Killed, match="judged"):
        judge(settings, RejudgeOptions(Selection(reasons=("event_time_too_old",)), apply=True), on_step=kill)
    assert counted(settings)[1] == start[1]
    assert judge(settings, chosen)["added"] == 4
    done = judge(settings, EVERYTHING)
    # Event 1 is in silver already: its copy counts as one.
    assert (done["judged"], done["changed"], done["added"]) == (6, 5, 3)
    again = judge(settings, EVERYTHING)
    assert (again["judged"], again["changed"], again["added"]) == (2, 0, 0)

    send(settings, [Record(framed(v1, body(good(20))))])
    drain(spark, settings)
    expected = [{"valid": 14, "too_short": 1, "unknown_region": 1}, (13, 13, Decimal("162.5000")), Decimal("162.5000")]
    assert counted(settings) == expected
    assert len(received(settings, settings.topic_dlq)) == letters
    marked = ask(settings, "SELECT rejudged_from, count(*), count(rejudged_at) FROM bronze GROUP BY 1")
    assert set(marked) == {(None, 7, 0), ("event_time_too_old", 4, 4), ("oversized", 5, 5)}
    assert ask(settings, "SELECT count(*) FROM silver WHERE is_late") == [(7,)]
    with open_catalog(settings) as catalog:
        stamps = {summary_value(one, STAMP_CORRECTION_ID) for one in ancestors(load_table(catalog, "bronze.sales_events"))}
    assert len(stamps - {None}) == 2
    assert json.dumps(done)
