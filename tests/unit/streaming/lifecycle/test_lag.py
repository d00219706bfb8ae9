"""How far a stream is behind its source, over a small lake and beside a broker that is away. Time is passed in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lake_fixtures import bronze_row, make_lake
from polling import wait_until

from rtap_assets.config import Settings, load_settings
from rtap_assets.local.ports import free_port
from rtap_assets.streaming.probes.source_probe import BROKER, CATALOG, Lag, SourceProbe, dependencies_of, measure_lag
from rtap_assets.streaming.queries.definitions import STREAMS

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WAIT_SECONDS = 60


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    quick = {"lag_probe_seconds": 0.05, "request_timeout_seconds": 0.3, "kafka_bootstrap": f"127.0.0.1:{free_port()}"}
    own = load_settings(state_dir=tmp_path / ".rtap", **quick)
    own.lake_dir.mkdir(parents=True)
    return own


@contextmanager
def probing(settings: Settings, dependency: str, stream: str) -> Iterator[tuple[SourceProbe, list[str]]]:
    said: list[str] = []
    probe = SourceProbe(settings, dependency, [STREAMS[stream]], clock=lambda: NOW, say=said.append)
    probe.start()
    try:
        yield probe, said
    finally:
        probe.close(WAIT_SECONDS)


@pytest.mark.parametrize(
    "lag, seconds",
    [
        (Lag(NOW, 0, None), 0.0),
        (Lag(NOW, 5, NOW - timedelta(seconds=90)), 90.0),
        (Lag(NOW, 5, NOW + timedelta(seconds=1)), 0.0),
        (Lag(NOW, 5, None), None),
        (Lag(NOW, None, None), None),
    ],
    ids=["all is read", "the oldest waits", "a clock ahead of ours", "an age that is not known", "nothing is known"],
)
def test_the_lag_in_seconds_is_the_age_of_the_oldest_unread_record(lag: Lag, seconds: float | None) -> None:
    assert lag.seconds(NOW) == seconds


def test_a_stream_waits_for_what_it_reads_and_writes_alone() -> None:
    assert {name: dependencies_of(stream) for name, stream in STREAMS.items()} == {
        "bronze": {BROKER, CATALOG},
        "dlq": {BROKER, CATALOG},
        "silver": {CATALOG},
        "gold": {BROKER, CATALOG},
    }


def test_a_table_that_was_never_read_is_all_lag(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(0), bronze_row(1)])
    found = measure_lag(settings, STREAMS["silver"], clock=lambda: NOW)
    assert (found.at, found.records) == (NOW, 2)
    assert found.oldest_at is not None


def test_a_reading_is_kept_with_its_age_and_not_told_once_it_is_too_old(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(0)])
    with probing(settings, CATALOG, "silver") as (probe, said):
        wait_until(lambda: probe.lag("silver", NOW) is not None, seconds=WAIT_SECONDS, what="a reading")
        longest = timedelta(seconds=settings.lag_probe_seconds + settings.status_validity_seconds)
        assert probe.lag("silver", NOW + longest) is not None
        assert probe.lag("silver", NOW + longest + timedelta(seconds=1)) is None
        assert not probe.is_away(NOW)
    assert said == []


def test_a_lag_that_cannot_be_known_is_said_once_and_found_when_it_can(settings: Settings) -> None:
    with probing(settings, CATALOG, "silver") as (probe, said):
        wait_until(lambda: said != [], seconds=WAIT_SECONDS, what="the reason")
        assert probe.lag("silver", NOW) is None
        make_lake(settings, bronze=[bronze_row(0)])
        wait_until(lambda: probe.lag("silver", NOW) is not None, seconds=WAIT_SECONDS, what="a reading")
    assert len(said) == 1
    assert said[0].startswith("lag of silver is not known: ")


def test_a_broker_that_does_not_answer_is_away_and_said_once(settings: Settings) -> None:
    with probing(settings, BROKER, "bronze") as (probe, said):
        wait_until(lambda: probe.is_away(NOW), seconds=WAIT_SECONDS, what="the broker is away")
        assert probe.lag("bronze", NOW) is None
        assert probe.refusal("bronze") is None
    assert [line.split(":")[0] for line in said] == ["broker does not answer"]
