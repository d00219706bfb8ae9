"""The stream host notices that Dagster's daemon is dead: heartbeats on disk, records of the run folder, time passed in."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from alert_receivers import web_receiver
from fake_host import NOON as NOW
from fake_host import status

from rtap_assets.alerts.heartbeat import DAEMON_RECORD, DaemonWatch, newest_heartbeat
from rtap_assets.alerts.host_watch import SENSOR, AlertWatch
from rtap_assets.alerts.model import Facts
from rtap_assets.alerts.store import AlertStore
from rtap_assets.config import Settings, load_settings
from rtap_assets.local.dagster_ui import DAEMON
from rtap_assets.streaming.model.states import Observed


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, state_dir=tmp_path / ".rtap", alert_group_seconds=0, alert_recovery_seconds=0)


def beat(settings: Settings, at: datetime) -> None:
    """A heartbeat as Dagster's storage has it."""
    path = settings.dagster_home / "history" / "runs.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS daemon_heartbeats (daemon_type VARCHAR(255), timestamp TIMESTAMP)")
        database.execute("INSERT INTO daemon_heartbeats VALUES ('SENSOR', ?)", [at.replace(tzinfo=None).isoformat(sep=" ")])


def record(settings: Settings, at: datetime) -> None:
    """The record that `rtap up --ui` writes of the daemon."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    (settings.run_dir / DAEMON_RECORD).write_text("{}", encoding="utf-8")
    os.utime(settings.run_dir / DAEMON_RECORD, (at.timestamp(), at.timestamp()))


def open_alerts(settings: Settings, *seconds: float, streams: tuple[Observed, ...] = ()) -> list[str]:
    watch = AlertWatch(settings, lambda: [status("gold", observed) for observed in streams])
    for second in seconds:
        watch.look(NOW + timedelta(seconds=second))
    return [one.key for one in AlertStore(settings).open_alerts()]


def test_the_record_has_the_name_of_the_daemon() -> None:
    assert f"{DAEMON}.json" == DAEMON_RECORD


def test_a_daemon_without_a_sign_of_life_is_an_alert_and_its_return_ends_it(settings: Settings) -> None:
    record(settings, NOW - timedelta(hours=1))
    beat(settings, NOW)
    assert open_alerts(settings, 0, 180) == []
    assert open_alerts(settings, 181) == ["daemon/dagster-daemon"]
    beat(settings, NOW + timedelta(seconds=200))
    assert open_alerts(settings, 201, 202) == []


def test_one_that_was_started_a_moment_ago_has_time_for_its_first_heartbeat(settings: Settings) -> None:
    beat(settings, NOW - timedelta(days=7))
    record(settings, NOW)
    assert open_alerts(settings, 10) == []


def test_one_that_was_ended_on_purpose_is_not_dead(settings: Settings) -> None:
    beat(settings, NOW - timedelta(days=7))
    assert open_alerts(settings, 0, 600) == []


def test_one_without_a_record_is_missed_once_it_was_seen(settings: Settings) -> None:
    watch = DaemonWatch(settings)
    beat(settings, NOW)
    assert watch.look(NOW + timedelta(seconds=5)) is not None
    late = watch.look(NOW + timedelta(seconds=500))
    assert late is not None
    assert late.alive_at == NOW


def test_without_dagster_s_storage_nothing_is_claimed(settings: Settings) -> None:
    record(settings, NOW - timedelta(hours=1))
    assert newest_heartbeat(settings) is None
    assert open_alerts(settings, 0, 600) == []


def test_while_the_daemon_is_dead_the_host_judges_the_streams_and_delivers(settings: Settings) -> None:
    record(settings, NOW - timedelta(hours=1))
    beat(settings, NOW)
    with web_receiver() as receiver:
        ours = settings.model_copy(
            update={"alert_webhooks": load_settings(_env_file=None, alert_webhooks=receiver.url).alert_webhooks}
        )
        assert sorted(open_alerts(ours, 181, streams=(Observed.BROKEN,))) == ["daemon/dagster-daemon", "stream/gold"]
        assert [one["subject"] for one in receiver.got[0][1]["alerts"]] == ["gold", "dagster-daemon"] or len(
            receiver.got
        ) == 1


def test_a_sensor_that_rests_while_the_daemon_lives_is_an_alert(settings: Settings) -> None:
    record(settings, NOW - timedelta(hours=1))
    AlertStore(settings).look(Facts(NOW), by=SENSOR)
    for second in (0, 100, 200, 300, 400):
        beat(settings, NOW + timedelta(seconds=second))
    assert open_alerts(settings, 100) == []
    assert open_alerts(settings, 300, 360) == ["sensor/alerts"]
