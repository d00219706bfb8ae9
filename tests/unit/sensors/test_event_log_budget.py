"""A live system adds at most 50,000 events a day to Dagster's event log: the arithmetic, and the part of it that can be run.

An event is counted once. SQLite stores those of assets, checks and run status twice, in the run's file and in an index over
all runs: the rows on disk are counted here too, and are above that number. On PostgreSQL an event is one row.

Measured with the default settings and 200 records a second, over five minutes (one roll-up, one pass, one refresh): 139
events and 229 rows, which is 40,000 events and 66,000 rows a day.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.schedules import cron_string_iterator

from rtap_assets.config import Settings
from rtap_assets.definitions import defs
from rtap_assets.quality.catalog import PASS_CHECKS
from rtap_assets.sensors.dlq_lag import LONGEST_SILENCE
from rtap_assets.sensors.supervisor import INTERVAL_SECONDS, Memory, due_events
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus

MOST_EVENTS_A_DAY = 50_000
MOST_SQLITE_ROWS_A_DAY = 75_000
MINUTES_A_DAY = 24 * 60
DAY = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Count:
    """Events, and how many of them SQLite stores twice."""

    events: float
    mirrored: float

    @property
    def sqlite_rows(self) -> float:
        return self.events + self.mirrored

    def __add__(self, other: Count) -> Count:
        return Count(self.events + other.events, self.mirrored + other.mirrored)

    def __rmul__(self, times: float) -> Count:
        return Count(times * self.events, times * self.mirrored)


# Of one run with one step in the in-process executor; measured below.
RUN, ASSET, CHECK, RUNLESS_EVENT = Count(9, 2), Count(3, 2), Count(3, 2), Count(1, 1)
# Counted in live runs: what daemon and worker add to one that is launched (enqueued, starting, its process, its resources).
# Reckoned: what a further step adds.
LAUNCH, STEP = Count(6, 2), Count(5, 0)


@dataclass(frozen=True)
class Runs:
    """One kind of run: how often a day, and of what a run consists."""

    a_day: float
    steps: int = 1
    assets: int = 0
    checks: int = 0
    log_lines: int = 5

    @property
    def count(self) -> Count:
        frame = LAUNCH + RUN + (self.steps - 1) * STEP + Count(self.log_lines, 0)
        return self.a_day * (frame + self.assets * ASSET + self.checks * CHECK)


# By schedule or sensor. A schedule of the definitions that is not here fails the test; `a_day` is held to its cron string.
SCHEDULED = {
    "maintain_tables_schedule": Runs(4, steps=2, log_lines=12),
    "refresh_marts_schedule": Runs(288, assets=8, log_lines=2),  # every 5 minutes: seven marts and the Parquet folder
    "check_quality_schedule": Runs(288, log_lines=2),  # every 5 minutes; its results are events without a run
}
STARTED_BY_PEOPLE = {
    "start, stop, restart, drain": Runs(50, log_lines=20),
    "materialise by hand": Runs(20, steps=5, assets=13),
}
DEFAULTS = Settings()
SECONDS_BETWEEN_ROLL_UPS = round(DEFAULTS.progress_rollup_seconds)
CHANGES_A_DAY = 20  # of the state of each stream, and of the freshness of each asset


def states_told_a_day() -> int:
    """How often the supervisor tells the state of a stream that runs."""
    memory, told = Memory(), 0
    for second in range(0, 86_400, INTERVAL_SECONDS):
        now = DAY + timedelta(seconds=second)
        running = StreamStatus("gold", Desired.RUNNING, Observed.RUNNING, DAY, now, now)
        told += len(
            due_events([running], memory, now=now, validity_seconds=DEFAULTS.status_validity_seconds, materialized={})
        )
    return told


# Runless events a day of the sensors: as often as their intervals allow, and one per change.
RUNLESS = {
    "materialisations by running streams": 4 * (24 * 3_600 // SECONDS_BETWEEN_ROLL_UPS + CHANGES_A_DAY),
    "results of the scheduled checks": 288 * len(PASS_CHECKS),
    # After a run that found results itself, by hand or with a materialization: once, at the next roll-up.
    "results of runs, reported again": STARTED_BY_PEOPLE["materialise by hand"].a_day * len(PASS_CHECKS),
    "observations of three topics": 3 * (24 * 3_600 // SECONDS_BETWEEN_ROLL_UPS),
    "marts refreshed from the shell": 50 * 9,
    "lag of the dead-letter topic": timedelta(days=1) // LONGEST_SILENCE,
    "states of four streams, renewed before they lapse": 4 * (states_told_a_day() + CHANGES_A_DAY),
    "freshness of four layers and eight marts, at each change": 12 * CHANGES_A_DAY,
}


def test_a_day_adds_at_most_fifty_thousand_events() -> None:
    parts = {name: runs.count for name, runs in (SCHEDULED | STARTED_BY_PEOPLE).items()}
    parts |= {name: events * RUNLESS_EVENT for name, events in RUNLESS.items()}
    total = sum(parts.values(), Count(0, 0))
    shown = {**parts, "in all": total}.items()
    lines = [f"{count.events:8,.0f} events {count.sqlite_rows:8,.0f} rows in SQLite  {name}" for name, count in shown]
    print("\n".join(lines))  # pytest shows it with -s, and when a bound is broken
    assert total.events <= MOST_EVENTS_A_DAY
    assert total.sqlite_rows <= MOST_SQLITE_ROWS_A_DAY


def test_what_is_kept_of_a_week_is_bounded_by_the_retention() -> None:
    assert DEFAULTS.event_log_retention_days <= 7


def test_every_schedule_is_in_the_arithmetic_with_its_own_frequency() -> None:
    assert {schedule.name for schedule in defs.schedules or []} == SCHEDULED.keys()
    for schedule in defs.schedules or []:
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert SCHEDULED[schedule.name].a_day >= ticks_a_day(str(schedule.cron_schedule))


def ticks_a_day(cron: str) -> int:
    count = 0
    for tick in cron_string_iterator(DAY.timestamp(), cron, "UTC"):
        if tick >= DAY + timedelta(days=1):
            return count
        count += 1
    return count


def stored_rows(folder: Path) -> int:
    """The event rows in all SQLite files below the folder."""
    count = 0
    for path in folder.rglob("*.db"):
        with sqlite3.connect(path) as database:
            if database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'event_logs'").fetchone() != (0,):
                count += database.execute("SELECT count(*) FROM event_logs").fetchone()[0]
        database.close()
    return count


@pytest.mark.parametrize("assets, checks", [(1, 0), (8, 0), (1, 6)])
def test_the_rows_of_a_run_are_as_reckoned(tmp_path: Path, assets: int, checks: int) -> None:
    keys = [dg.AssetKey(f"asset_{number}") for number in range(assets)]

    @dg.multi_asset(
        specs=[dg.AssetSpec(key) for key in keys],
        check_specs=[dg.AssetCheckSpec(f"check_{number}", asset=keys[0]) for number in range(checks)],
    )
    def step():  # type: ignore[no-untyped-def]
        for key in keys:
            results = [dg.AssetCheckResult(check_name=f"check_{n}", asset_key=key, passed=True) for n in range(checks)]
            yield dg.MaterializeResult(asset_key=key, check_results=results)

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert dg.materialize([step], instance=instance).success
        (run,) = instance.get_run_records()
        events = len(instance.get_records_for_run(run.dagster_run.run_id).records)
    expected = RUN + assets * ASSET + checks * CHECK
    assert (events, stored_rows(tmp_path)) == (expected.events, expected.sqlite_rows)


def test_a_runless_event_is_two_rows(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for _ in range(3):
            instance.report_runless_asset_event(dg.AssetMaterialization("asset_0"))
    assert stored_rows(tmp_path) == (3 * RUNLESS_EVENT).sqlite_rows
