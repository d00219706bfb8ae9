"""A refresh that goes on from the last file equals one from nothing, whatever has happened to the tables."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from lake_fixtures import NOON, Row, append_rows, bronze_row, gold_row, make_lake, silver_row
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan
from pyiceberg.table import Table

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.corrections import Cause, Change, Entry
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.corrections import Position, append_entries, ensure_corrections, set_position
from rtap_assets.serving.lake_files import plan_lake
from rtap_assets.serving.marts import MARTS, PARTS, refresh_marts

HOUR = timedelta(hours=1)
DAYS = 2
STAMP = {"rtap.fixture": "1"}


class Lake:
    """A lake of some days with an event every twenty minutes, its streams and whatever else changes it."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings, self.random, self.offset = settings, random.Random(seed), 0
        self.now = NOON - timedelta(days=DAYS)
        make_lake(settings)
        while self.now < NOON:
            self.stream(hours=12)

    def stream(self, *, hours: int = 1) -> None:
        """Append the next hours to all tables; gold's watermark follows ten minutes behind."""
        times = [self.now + timedelta(minutes=20 * step) for step in range(3 * hours)]
        self.now += hours * HOUR
        self.append(BRONZE, [self.record(at, valid=self.random.random() < 0.8) for at in times])
        self.append(SILVER, [self.event(at) for at in times])
        self.append(GOLD, [self.window(at) for at in times], watermark=self.now - timedelta(minutes=10))

    def append(self, spec: TableSpec, rows: list[Row], *, watermark: datetime | None = None) -> None:
        with self.table(spec) as table:
            append_rows(table, rows, watermark=watermark)

    @contextmanager
    def table(self, spec: TableSpec) -> Iterator[Table]:
        with open_catalog(self.settings) as catalog:
            yield load_table(catalog, spec.identifier)

    def record(self, at: datetime, *, valid: bool = True) -> Row:
        self.offset += 1
        reason = None if valid else self.random.choice(("too_short", "bad_magic"))
        return bronze_row(self.offset, kafka_timestamp=at, event_time=at, topic_epoch=0, error_reason=reason)

    def event(self, at: datetime) -> Row:
        latencies = {f"{name}_latency_ms": self.random.randrange(900) for name in ("ingest", "delivery", "processing")}
        return silver_row(f"event-{self.offset}-{at}", event_time=at, kafka_timestamp=at, **latencies)

    def window(self, at: datetime, **columns: Any) -> Row:
        amount = Decimal(self.random.randrange(10**9)).scaleb(-4)
        return gold_row(at, region=self.random.choice(("emea", "na")), gross_amount=amount, **columns)

    def restate(self) -> None:
        """A correction changes a window of the first day: its file is replaced."""
        old = self.now.replace(hour=8) - timedelta(days=DAYS)
        with self.table(GOLD) as table:
            kept = table.scan(row_filter=GreaterThanOrEqual("window_start", old.isoformat())).to_arrow()
            restated = kept.set_column(
                kept.schema.get_field_index("revision"), "revision", [[1] * kept.num_rows]
            ).cast(kept.schema)  # fmt: skip
            table.overwrite(restated, GreaterThanOrEqual("window_start", old.isoformat()), snapshot_properties=STAMP)

    def erase(self) -> None:
        """Rows in the middle leave bronze and silver."""
        start = NOON - timedelta(days=1)
        for spec in (SILVER, BRONZE):
            between = And(
                GreaterThanOrEqual("kafka_timestamp", start.isoformat()),
                LessThan("kafka_timestamp", (start + 3 * HOUR).isoformat()),
            )
            with self.table(spec) as table:
                table.delete(between, snapshot_properties=STAMP)

    def rejudge(self) -> None:
        """Quarantined rows get another verdict, in place."""
        with self.table(BRONZE) as table:
            rows = table.scan(row_filter=EqualTo("error_reason", "too_short")).to_arrow()
            index = rows.schema.get_field_index("error_reason")
            judged = rows.set_column(index, "error_reason", [["bad_magic"] * rows.num_rows]).cast(rows.schema)
            table.overwrite(judged, EqualTo("error_reason", "too_short"), snapshot_properties=STAMP)

    def add_late_rows(self) -> None:
        """Events of yesterday come now: late in silver, and new in gold's windows of yesterday."""
        late = NOON - timedelta(days=1, hours=2)
        self.append(BRONZE, [self.record(self.now) | {"event_time": late}])
        self.append(SILVER, [dict(self.event(late)) | {"kafka_timestamp": self.now, "is_late": True}])
        self.append(GOLD, [self.window(late, plan_tier="free", revision=1)])

    def compact(self) -> None:
        """All rows move to one file, and none changes."""
        for spec in (BRONZE, SILVER, GOLD):
            with self.table(spec) as table:
                table.overwrite(table.scan().to_arrow(), snapshot_properties=STAMP)

    def rebuild_gold(self) -> None:
        """The table is dropped and made again, by a stream that begins again."""
        with open_catalog(self.settings) as catalog:
            catalog.drop_table(GOLD.identifier)
        make_lake(self.settings)
        start = self.now - timedelta(days=1)
        self.append(GOLD, [self.window(start + timedelta(minutes=30 * n)) for n in range(40)], watermark=start)

    def examine(self) -> None:
        """Corrections have looked at all but the newest records."""
        ensure_corrections(self.settings)
        set_position(self.settings, Position(self.settings.topic_events, 0, {0: self.offset - 5}, self.now))

    def begin_correction(self) -> None:
        """A correction of the first day is pending."""
        ensure_corrections(self.settings)
        fixed = {"correction_id": "c1", "cause": str(Cause.LATE), "recorded_at": self.now}
        row = {"entry": str(Entry.ROW), "action": str(Change.ADD), "event_time": self.now - timedelta(days=DAYS)}
        append_entries(self.settings, [fixed | {"entry": str(Entry.PLANNED)}, fixed | row])

    def end_correction(self) -> None:
        done = {"correction_id": "c1", "cause": str(Cause.LATE), "recorded_at": self.now, "entry": str(Entry.DONE)}
        append_entries(self.settings, [done])


CHANGES: dict[str, Callable[[Lake], None]] = {
    "nothing": lambda lake: None,
    "an append": Lake.stream,
    "a restatement": Lake.restate,
    "an erasure": Lake.erase,
    "other verdicts": Lake.rejudge,
    "late rows": Lake.add_late_rows,
    "a compaction": Lake.compact,
    "a rebuild": Lake.rebuild_gold,
    "a look of corrections": Lake.examine,
    "a correction begun": Lake.begin_correction,
    "a correction ended": Lake.end_correction,
}


def content(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every mart, and of what marts are made from, in an order of their own."""
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {
            mart.name: connection.execute(f"FROM {mart.schema}.{mart.name} ORDER BY ALL").fetchall()
            for mart in (*PARTS, *MARTS)
        }


def from_nothing(settings: Settings, refreshed_at: datetime) -> dict[str, list[tuple[Any, ...]]]:
    """Return what a refresh without a last file gives; the last file stays."""
    aside = settings.marts_path.rename(settings.marts_path.with_suffix(".aside"))
    refresh_marts(settings, refreshed_at=refreshed_at)
    whole = content(settings)
    aside.rename(settings.marts_path)
    return whole


def test_a_refresh_that_goes_on_equals_one_from_nothing(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path)
    lake = Lake(settings, seed=0)
    refresh_marts(settings, refreshed_at=lake.now)
    for name, change in CHANGES.items():
        change(lake)
        refresh_marts(settings, refreshed_at=lake.now)
        went_on, whole = content(settings), from_nothing(settings, lake.now)
        for mart, rows in whole.items():
            assert went_on[mart] == rows, f"{mart} after {name}"


def spoil(settings: Settings, *, before: datetime) -> int:
    """Make the files unreadable that hold nothing newer; return how many there were."""
    spoiled = 0
    for view, column in (("bronze", "kafka_timestamp"), ("silver", "kafka_timestamp"), ("gold", "window_start")):
        plan = plan_lake(settings)[view]
        for path, (_, greatest) in plan.bounds[column].items():
            if greatest < before.timestamp() * 1_000_000:
                Path(path).write_bytes(b"not parquet")
                spoiled += 1
    return spoiled


def test_a_refresh_reads_no_file_of_hours_that_have_not_changed(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path)
    lake = Lake(settings, 0)
    lake.examine()
    refresh_marts(settings, refreshed_at=lake.now)
    assert spoil(settings, before=NOON - timedelta(days=1)) == 3 * 2
    lake.stream()
    report = refresh_marts(settings, refreshed_at=lake.now)
    assert report.rows["rolling_revenue"] == 3 * 24 * DAYS + 3


def test_the_file_does_not_grow_with_the_number_of_refreshes(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path)
    lake = Lake(settings, 0)
    refresh_marts(settings, refreshed_at=lake.now)
    sizes = []
    for number in range(12):
        lake.append(GOLD, [lake.window(lake.now - timedelta(minutes=number), plan_tier=f"tier-{number}")])
        refresh_marts(settings, refreshed_at=lake.now)
        sizes.append(settings.marts_path.stat().st_size)
    assert max(sizes[6:]) <= max(sizes[:6]) * 1.5
