"""Where work on the tables runs, and when a rebuild may take the checkpoints over: decided without Spark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_host import FakeClient, FakeEngine, engine_with, status

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.host.lock import NOTE_FILE
from rtap_assets.host.table_work import client_of_host, rebuild, table_work
from rtap_assets.resources.streams import StreamHost
from rtap_assets.runtime.locks import OwnerNote
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus


class Reached(Exception):
    """Raised in the place of a Spark session: the work would run here."""


def session() -> Any:
    raise Reached


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap")


@pytest.fixture
def hosted(settings: Settings) -> Settings:
    """Settings whose host is this very process."""
    settings.streams_dir.mkdir(parents=True)
    OwnerNote.of_this_process("stream host").write(settings.streams_dir / NOTE_FILE)
    return settings


def all_streams(observed: Observed, desired: Desired) -> list[StreamStatus]:
    return [status(name, observed, desired=desired) for name in STREAM_NAMES]


def all_stopped() -> FakeEngine:
    return engine_with(*all_streams(Observed.STOPPED, Desired.STOPPED))


@dataclass
class EndingClient(FakeClient):
    """A host that can be asked to end, which removes its note."""

    settings: Settings | None = None
    answers: bool = True
    ended: list[str] = field(default_factory=list)

    def host(self) -> Any:
        if not self.answers or self.ended:
            raise DependencyUnavailable("away", dependency="stream host", listens=False)
        return OwnerNote.of_this_process("stream host")

    def shutdown(self) -> None:
        self.ended.append("ended")
        assert self.settings is not None
        (self.settings.streams_dir / NOTE_FILE).unlink()


def rebuilt(settings: Settings, client: EndingClient) -> None:
    rebuild(settings, "gold", client=client, session=session, echo=lambda _: None)  # type: ignore[arg-type]


def test_the_work_runs_in_the_host_exactly_when_a_process_of_it_lives_or_it_is_an_external_one(
    settings: Settings, tmp_path: Path
) -> None:
    assert client_of_host(settings) is None
    external = load_settings(state_dir=tmp_path, streams_url="http://streams:18090")
    assert client_of_host(external) is not None
    settings.streams_dir.mkdir(parents=True)
    OwnerNote.of_this_process("stream host").write(settings.streams_dir / NOTE_FILE)
    assert client_of_host(settings) is not None


def test_without_a_host_the_work_opens_a_session_of_its_own(settings: Settings) -> None:
    work = table_work(settings, client=None, session=session, requested_by="test", echo=lambda _: None)
    with pytest.raises(Reached), work:
        pass


@pytest.mark.parametrize("desired, started", [(Desired.STOPPED, []), (Desired.RUNNING, ["host"])])
def test_without_a_host_a_run_takes_the_checkpoints_only_while_no_stream_is_desired(
    settings: Settings, desired: Desired, started: list[str]
) -> None:
    ensured: list[str] = []

    class Host(StreamHost):
        def statuses(self) -> list[StreamStatus]:
            return all_streams(Observed.STOPPED, desired)

        def ensure(self, echo: Callable[[str], None]) -> None:
            ensured.append("host")

    assert Host(settings=settings).client_in_charge(lambda _: None) is None
    assert ensured == started


def test_a_rebuild_without_a_host_goes_on_to_its_session(settings: Settings) -> None:
    with pytest.raises(Reached):
        rebuilt(settings, EndingClient(answers=False))


def test_a_rebuild_is_refused_while_a_stream_runs_or_is_to_run_and_ends_nothing(hosted: Settings) -> None:
    for observed, desired in ((Observed.RUNNING, Desired.STOPPED), (Observed.STOPPED, Desired.RUNNING)):
        reported = [*all_streams(Observed.STOPPED, Desired.STOPPED)[:3], status("gold", observed, desired=desired)]
        client = EndingClient(engine=engine_with(*reported), settings=hosted)
        with pytest.raises(StreamError, match="runs gold") as refusal:
            rebuilt(hosted, client)
        assert "stop_streams" in refusal.value.remedy
        assert client.ended == []


def test_a_host_whose_streams_are_stopped_hands_the_checkpoints_over(hosted: Settings) -> None:
    client = EndingClient(engine=all_stopped(), settings=hosted)
    with pytest.raises(Reached):
        rebuilt(hosted, client)
    assert client.ended == ["ended"]


def test_an_external_host_that_answers_keeps_the_checkpoints(tmp_path: Path) -> None:
    external = load_settings(state_dir=tmp_path, streams_url="http://streams:18090")
    with pytest.raises(StreamError, match="external"):
        rebuilt(external, EndingClient(engine=all_stopped()))
    with pytest.raises(Reached):
        rebuilt(external, EndingClient(answers=False))
