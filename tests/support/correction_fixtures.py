"""Corrections under test: records with known ids, runs that end at a step, and gold held to the sum of silver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from event_bytes import Record, body, event, event_id, framed
from pyspark.sql import SparkSession
from stream_fixtures import ask, assert_newest_messages_are_gold, drain, ended, open_engine, send

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import Entry
from rtap_assets.lake.corrections import read_entries
from rtap_assets.registry.client import Registry
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.streaming.model.operation import OperationState
from rtap_assets.streaming.operations.corrections.api import CorrectionReport, correct, finish
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun

MINUTE = timedelta(minutes=1)
TUMBLING = "epoch_us(window_start) % 300000000 = 0"
COUNTED = f"SELECT coalesce(sum(orders + refunds), 0)::BIGINT FROM gold WHERE {TUMBLING}"
# The sums of every window, computed from silver's rows alone.
RECOMPUTED = """
WITH steps AS (
    SELECT *, unnest(range(5)) AS step, epoch_us(event_time) // 60000000 * 60000000 AS newest FROM silver
)
SELECT epoch_us(make_timestamptz(newest - step * 60000000)) AS start, plan_tier, region, currency,
    sum(net_amount)::DECIMAL(28, 4) AS net, count(*) AS events
FROM steps GROUP BY ALL ORDER BY ALL
"""
HELD = """
SELECT epoch_us(window_start) AS start, plan_tier, region, currency, net_amount AS net, orders + refunds AS events
FROM gold WHERE orders + refunds > 0 ORDER BY ALL
"""


class Killed(Exception):
    """Stands for the end of the process at a step."""


def run_of(session: SparkSession, settings: Settings, *, killed_after: str = "") -> CorrectionRun:
    def on_step(step: str) -> None:
        if step == killed_after:
            raise Killed(step)

    own = settings.model_copy(update={"correction_wait_seconds": 0})
    return CorrectionRun(session, own, requested_by="test", on_step=on_step)


def corrected(session: SparkSession, settings: Settings) -> CorrectionReport:
    """Do what `rtap correct` does where no host runs; return its report."""
    drain(session, settings, "gold")
    report = correct(run_of(session, settings))
    drain(session, settings, "gold")
    finish(run_of(session, settings))
    return report


@contextmanager
def killed(step: str) -> Iterator[None]:
    with pytest.raises(Killed, match=step):
        yield


def assert_gold_is_the_sum_of_silver(settings: Settings) -> None:
    assert ask(settings, HELD) == ask(settings, RECOMPUTED)
    assert ask(settings, COUNTED) == ask(settings, "SELECT count(*) FROM silver")
    assert_newest_messages_are_gold(settings)


def good(settings: Settings, numbers: range, *, at: datetime, amount: str = "12.5000") -> list[Record]:
    """Return a valid purchase per number, a second apart."""
    schema_id = max(Registry(settings).versions(settings.events_subject))
    times = (at + timedelta(seconds=second) for second in count())
    events = [
        event(event_id=event_id(number), event_time=time, ingest_time=time, amount=Decimal(amount))
        for number, time in zip(numbers, times, strict=False)
    ]
    return [Record(framed(schema_id, body(one, newest_schema(settings)))) for one in events]


def newest_schema(settings: Settings) -> str:
    return str(max(Registry(settings).versions(settings.events_subject).items())[1])


def send_and_drain(session: SparkSession, settings: Settings, *batches: list[Record]) -> None:
    """Let silver read each list in a micro-batch of its own, then gold all of them."""
    read = ("bronze", "silver")
    with open_engine(session, settings.model_copy(update={f"trigger_{name}_seconds": 0.1 for name in read})) as engine:
        for name in read:
            engine.submit(name, "start")
        for records in batches:
            send(settings, records)
            for name in read:
                assert ended(engine, engine.submit(name, "drain")).state is OperationState.SUCCEEDED
    drain(session, settings, "gold")


def statuses(settings: Settings) -> set[str]:
    """Return the states of the windows that hold events, as the marts have them."""
    refresh_marts(settings, refreshed_at=datetime.now(UTC))
    return {status for (status,) in ask(settings, "SELECT DISTINCT status FROM marts.rolling_revenue")}


def entries(settings: Settings, *kinds: Entry) -> list[dict[str, Any]]:
    return read_entries(settings, *kinds).to_pylist()
