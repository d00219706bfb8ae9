"""A dashboard on stage: marts made without Spark, a topic and a stream host that a test directs, served on a real port."""

from __future__ import annotations

import asyncio
import io
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from queue import Empty, SimpleQueue
from typing import Any

import fastavro
from lake_fixtures import bronze_row, gold_row, make_lake, silver_row
from polling import wait_until
from starlette.applications import Starlette

from rtap_assets.config import PACKAGE, Settings
from rtap_assets.contracts.avro.wire import frame
from rtap_assets.contracts.corrections import Cause, Entry
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.dashboard.api import Api
from rtap_assets.dashboard.app import build_app
from rtap_assets.dashboard.feed import Feed
from rtap_assets.dashboard.hub import Hub
from rtap_assets.dashboard.process import DashboardServer
from rtap_assets.dashboard.revenue_messages import RevenueReader
from rtap_assets.dashboard.revenue_store import RevenueStore
from rtap_assets.dashboard.sources import HostWatch, MartsWatch
from rtap_assets.errors import DependencyUnavailable, RtapError
from rtap_assets.kafka.topic_follower import FollowedRecord
from rtap_assets.lake.corrections import append_entries, ensure_corrections
from rtap_assets.quality.catalog import PASS_CHECKS, result_of
from rtap_assets.quality.results_table import append_results, archived_offsets
from rtap_assets.serving.lake_reader import LakeReader
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.serving.marts_reader import MartsReader
from rtap_assets.streaming.model.states import Desired, FailureNote, Observed, StreamStatus

SCHEMA = (PACKAGE / "schemas" / "sales.agg.revenue_5m.v1-value" / "1.avsc").read_text(encoding="utf-8")
PARSED = fastavro.parse_schema(json.loads(SCHEMA))
SCHEMA_ID = 7
TIERS = {"free": 0, "starter": 40, "pro": 190, "enterprise": 900}
MARKETS = (
    ("na", "USD"),
    ("na", "CAD"),
    ("emea", "EUR"),
    ("emea", "GBP"),
    ("apac", "JPY"),
    ("apac", "AUD"),
    ("latam", "BRL"),
)
SHARES = {"USD": 10, "CAD": 2, "EUR": 7, "GBP": 3, "JPY": 4, "AUD": 2, "BRL": 2}
RATES = {"JPY": 150, "BRL": 5}
MINUTE = timedelta(minutes=1)
Row = dict[str, Any]


def revenue_rows(newest: datetime, *, hours: float, seed: int = 1) -> list[Row]:
    """Return gold's rows of the windows that begin in the hours up to an instant: five panes of a minute each."""
    draw = random.Random(seed)
    last = newest.replace(second=0, microsecond=0)
    minutes = int(hours * 60)
    panes: dict[datetime, dict[tuple[str, str, str], tuple[Decimal, Decimal, int, int]]] = {}
    for back in range(minutes + 4, -1, -1):
        start = last - back * MINUTE
        wave = 1.0 + 0.35 * _wave(start)
        panes[start] = {
            (tier, region, currency): _pane(draw, price * RATES.get(currency, 1), SHARES[currency] * wave)
            for tier, price in TIERS.items()
            for region, currency in MARKETS
        }
    rows = []
    for start in sorted(panes)[:-4]:
        for key in panes[start]:
            held = [panes[start + step * MINUTE][key] for step in range(5)]
            gross, refund = sum((one[0] for one in held), Decimal(0)), sum((one[1] for one in held), Decimal(0))
            row = gold_row(
                start, plan_tier=key[0], region=key[1], currency=key[2], gross_amount=gross, refund_amount=refund,
                orders=sum(one[2] for one in held), refunds=sum(one[3] for one in held),
                updated_at=min(start + 5 * MINUTE, newest),
            )  # fmt: skip
            rows.append(row)
    return rows


def _wave(instant: datetime) -> float:
    minute = instant.hour * 60 + instant.minute
    return ((minute % 97) / 97 + (minute % 41) / 41) - 1


def _pane(draw: random.Random, price: float, mean: float) -> tuple[Decimal, Decimal, int, int]:
    orders = max(0, round(draw.gauss(mean, mean**0.5)))
    gross = sum((Decimal(round(price * draw.uniform(0.7, 1.6) * 100)) / 100 for _ in range(orders)), Decimal("0.0000"))
    refunds = sum(draw.random() < 0.04 for _ in range(orders))
    refund = (gross * refunds / orders).quantize(Decimal("0.01")) if orders else Decimal(0)
    return gross.quantize(Decimal("0.0001")), refund.quantize(Decimal("0.0001")), orders, refunds


def value_of(row: Mapping[str, Any]) -> bytes:
    """Return a row of gold as a message of the aggregate topic."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, dict(row))
    return frame(SCHEMA_ID, out.getvalue())


@dataclass
class FakeTopic:
    """A topic of one Kafka partition that a test writes to, and a broker that it takes away. Keeps what was written."""

    topic_id: str = "topic-1"
    records: list[FollowedRecord] = field(default_factory=list)
    away: RtapError | None = None
    opened_since: list[datetime] = field(default_factory=list)

    def publish(self, *rows: Mapping[str, Any], at: datetime | None = None) -> None:
        """Append the rows as messages."""
        stamp = round((at or datetime.now(UTC)).timestamp() * 1000)
        for row in rows:
            self.append(value_of(row), stamp)

    def append(self, value: bytes, stamp: int = 0) -> None:
        """Append any value."""
        self.records.append(FollowedRecord(0, len(self.records), stamp, value))

    def follow(self, since: datetime) -> FakeFollower:
        """Open the topic; the test's own clock says what is old."""
        if self.away is not None:
            raise self.away
        self.opened_since.append(since)
        return FakeFollower(self, self.topic_id, {0: 0}, {0: len(self.records)})


@dataclass
class FakeFollower:
    """A reader of a `FakeTopic`."""

    topic: FakeTopic
    topic_id: str
    position: dict[int, int]
    ends: dict[int, int]
    _nothing: SimpleQueue[None] = field(default_factory=SimpleQueue)

    def read(self, *, seconds: float) -> list[FollowedRecord]:
        if self.topic.away is not None:
            raise self.topic.away
        found = self.topic.records[self.position[0] : self.position[0] + 500]
        if not found:
            try:
                self._nothing.get(timeout=min(seconds, 0.02))
            except Empty:
                return []
        self.position[0] += len(found)
        return list(found)

    def close(self) -> None: ...


@dataclass
class Stage:
    """One dashboard with everything that it looks at."""

    settings: Settings
    topic: FakeTopic = field(default_factory=FakeTopic)
    streams: list[StreamStatus] = field(default_factory=list)
    host_error: RtapError | None = None
    api: Api | None = None

    def ask_host(self) -> list[StreamStatus]:
        if self.host_error is not None:
            raise self.host_error
        return self.streams

    def own_api(self) -> Api:
        """Return the endpoints over the fakes."""
        hub = Hub(self.settings, RevenueStore(self.settings.dashboard_hours))
        self.api = Api(hub, MartsReader(self.settings), LakeReader(self.settings), HostWatch(hub, self.ask_host))
        return self.api

    def feed_of(self, loop: asyncio.AbstractEventLoop, marts: MartsWatch) -> Feed:
        """Return the live feed over the fake topic."""
        assert self.api is not None
        reader = RevenueReader({SCHEMA_ID: SCHEMA}.get)
        return Feed(self.api.hub, reader, follow=self.topic.follow, restarted=marts.look, loop=loop)

    def app(self) -> Starlette:
        """Return the application over the fakes."""
        return build_app(self.own_api(), feed_of=self.feed_of)


def running(**changes: Any) -> list[StreamStatus]:
    """Return four streams that run, as of now."""
    now = datetime.now(UTC)
    rates = {"bronze": 2004.0, "dlq": 11.0, "silver": 1988.0, "gold": 1986.0}
    return [
        StreamStatus(
            name, Desired.RUNNING, Observed.RUNNING,
            since=now - timedelta(hours=2), observed_at=now, valid_until=now + timedelta(seconds=75),
            last_commit_at=now - timedelta(seconds=3), last_batch_id=4711, batch_seconds=0.8,
            input_rows_per_second=rates[name], processed_rows_per_second=rates[name] * 4, lag_records=1200, lag_seconds=2.5,
            watermark={"silver": now - timedelta(seconds=606), "gold": now - timedelta(seconds=1_211)}.get(name),
        )
        for name in STREAM_NAMES
    ]  # fmt: skip


def waiting(streams: list[StreamStatus], name: str) -> list[StreamStatus]:
    """Return the streams with one that waits for the broker."""
    note = FailureNote("kafka", "The Kafka broker at 127.0.0.1:19092 did not answer.", datetime.now(UTC), "Run `rtap up`.")
    return [
        replace(one, observed=Observed.WAITING, waiting_for="kafka", last_error=note) if one.name == name else one
        for one in streams
    ]


def away(dependency: str = "kafka") -> DependencyUnavailable:
    """Return the error of a dependency that does not answer."""
    return DependencyUnavailable(
        "The Kafka broker at 127.0.0.1:19092 did not answer within 3 s.", remedy="Run `rtap up`.", dependency=dependency
    )


def fill_lake(
    settings: Settings,
    rows: list[Row],
    *,
    now: datetime,
    watermark: datetime,
    detail: str = "what was found",
    key: bytes = b"account-7",
) -> None:
    """Make the tables: gold's rows, quarantined records, latencies, one correction, and a result of each check."""
    reasons = [Reason.UNDECODABLE] * 7 + [Reason.UNKNOWN_REGION] * 4 + [Reason.KEY_MISMATCH] * 2 + [Reason.TOO_SHORT]
    make_lake(
        settings,
        gold=rows,
        watermark=watermark,
        bronze=[
            bronze_row(
                number, error_reason=str(reason), kafka_timestamp=now - number * MINUTE,
                error_detail=f"{detail} in record {number}", raw_key=key,
                raw_value=b"\x00\x00\x00\x00\x07" + b"x" * 90,
            )
            for number, reason in enumerate(reasons)
        ],
        silver=[
            silver_row(
                f"event-{n}", kafka_timestamp=now, ingest_latency_ms=n, delivery_latency_ms=2 * n,
                processing_latency_ms=900 + n,
            )
            for n in range(1, 101)
        ],
    )  # fmt: skip
    archived_offsets(settings)
    results = [
        result_of(
            check, settings, evaluation="stage", observed=2 * check.threshold(settings) + 0.5 if number in {1, 8} else 0.0,
            rows_checked=0 if number == 5 else 120_000, rows_failed=0, measured_at=now - timedelta(minutes=2), detail={},
        )
        for number, check in enumerate(PASS_CHECKS)
    ]  # fmt: skip
    append_results(settings, results, before={}, after={0: len(results)})


def record_correction(settings: Settings, row: Row, *, before: Decimal, cause: Cause, at: datetime, number: int = 1) -> None:
    """Record that a correction changed the gross and net amount of one window from `before` to what the row has."""
    ensure_corrections(settings)
    common = {"correction_id": f"c-{number}", "cause": str(cause), "run_id": f"run-{number}", "requested_by": "schedule"}
    difference = row["gross_amount"] - before
    window = {
        **{name: row[name] for name in ("window_start", "window_end", "plan_tier", "region", "currency", "revision")},
        **{f"to_{name}": row[name] for name in ("gross_amount", "refund_amount", "net_amount", "orders", "refunds")},
        "from_gross_amount": before, "from_refund_amount": row["refund_amount"],
        "from_net_amount": row["net_amount"] - difference, "from_orders": row["orders"] - 1, "from_refunds": row["refunds"],
    }  # fmt: skip
    counts = {"rows_added": 1, "rows_removed": 0, "bronze_rows_removed": 0}
    why = "A row came after silver's watermark had passed it."
    append_entries(
        settings,
        [
            {**common, "entry": str(Entry.PLANNED), "why": why, "recorded_at": at, **counts},
            {**common, "entry": str(Entry.WINDOW), "recorded_at": at, **window},
            {**common, "entry": str(Entry.DONE), "why": why, "recorded_at": at, **counts},
        ],
    )


def staged(settings: Settings, *, hours: float = 3, restate: bool = True) -> tuple[Stage, list[Row]]:
    """Return a stage whose lake and marts hold revenue up to now, with one window that was restated."""
    now = datetime.now(UTC)
    rows = revenue_rows(now, hours=hours)
    watermark = now - timedelta(minutes=20)
    if restate:
        closed = [row for row in rows if row["window_end"] <= watermark and row["window_start"].minute % 5 == 0]
        row = next(row for row in reversed(closed) if (row["plan_tier"], row["currency"]) == ("enterprise", "USD"))
        row["revision"] = 1
        before = row["gross_amount"] - Decimal("899.0000")
    fill_lake(settings, rows, now=now, watermark=watermark)
    if restate:
        record_correction(settings, row, before=before, cause=Cause.LATE, at=now - timedelta(minutes=5))
    refresh_marts(settings, refreshed_at=now)
    return Stage(settings, streams=running()), rows


@contextmanager
def served(stage: Stage) -> Iterator[str]:
    """Serve the stage on its port; yield the page's address."""
    server = DashboardServer(stage.own_api(), feed_of=stage.feed_of)
    thread = threading.Thread(target=server.run, name="dashboard", daemon=True)
    thread.start()
    wait_until(lambda: server.started, seconds=60, what="the dashboard serves")
    try:
        yield f"http://127.0.0.1:{stage.settings.dashboard_port}"
    finally:
        server.should_exit = True
        thread.join(10)


Clock = Callable[[], datetime]


def tumbling(rows: list[dict[str, Any]], currency: str, **only: str) -> dict[int, Decimal]:
    """Return the net amount by start of the window, as the rows of gold have it."""
    found: dict[int, Decimal] = {}
    for row in rows:
        if row["window_start"].minute % 5 == 0 and row["currency"] == currency and all(row[k] == v for k, v in only.items()):
            start = round(row["window_start"].timestamp() * 1000)
            found[start] = found.get(start, Decimal(0)) + row["net_amount"]
    return found
