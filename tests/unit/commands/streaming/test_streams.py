"""`rtap streams …` and the stream lines of `rtap status`, against a host over a fake engine that answers on a real port."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Thread

import pytest
import uvicorn
from click.testing import CliRunner, Result
from fake_host import NOON, FakeHost, status_now
from polling import wait_until

from rtap_assets.commands.local.stack import status as stack_status
from rtap_assets.commands.streaming.streams import streams
from rtap_assets.config import get_settings, settings_environment
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.host.api import build_app
from rtap_assets.local.ports import listens
from rtap_assets.streaming.model.operation import OperationState
from rtap_assets.streaming.model.states import Desired, FailureNote, Observed

Command = Callable[..., Result]


@pytest.fixture
def serving(fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """A function that runs `rtap streams` with these words, in an environment that knows the host."""
    app = build_app(fake_host.host, fake_host.settings, token=fake_host.token)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: listens(port), seconds=60, what="the host serves")
        own = fake_host.settings.model_copy(update={"streams_port": port})
        for name, value in settings_environment(own).items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        try:
            yield lambda *words: CliRunner().invoke(streams, words)
        finally:
            get_settings.cache_clear()
            server.should_exit = True
            thread.join(10)


@pytest.mark.parametrize("action", ["start", "stop", "restart", "drain"])
def test_a_command_without_names_reaches_every_stream_in_the_order_of_the_flow(
    serving: Command, fake_host: FakeHost, action: str
) -> None:
    result = serving(action)
    assert result.exit_code == 0, result.output
    assert "stream host adopted: process 4711" in result.output
    asked = [(one.stream, one.action.value) for one in fake_host.engine.operations.values()]
    assert asked == [(name, action) for name in STREAM_NAMES]
    assert "gold    done" in result.output


def test_a_command_with_names_reaches_those(serving: Command, fake_host: FakeHost) -> None:
    assert serving("stop", "gold", "dlq").exit_code == 0
    assert [one.stream for one in fake_host.engine.operations.values()] == ["gold", "dlq"]
    assert serving("stop", "platinum").exit_code == 2


def test_a_failed_command_follows_the_others_all_the_same(serving: Command, fake_host: FakeHost) -> None:
    fake_host.engine.outcome = OperationState.FAILED
    result = serving("start")
    assert result.exit_code == 1
    assert result.output.count("done") == len(STREAM_NAMES)
    assert all(f"start of {name} failed." in str(result.exception) for name in STREAM_NAMES)


def test_status_shows_each_stream_and_is_0_while_all_is_well(serving: Command, fake_host: FakeHost) -> None:
    running = {"desired": Desired.RUNNING, "observed": Observed.RUNNING}
    fake_host.engine.found["gold"] = status_now("gold", **running, lag_records=1_234, lag_seconds=5.4, watermark=NOON)
    waiting = {"desired": Desired.RUNNING, "observed": Observed.WAITING, "waiting_for": "broker"}
    fake_host.engine.found["bronze"] = status_now("bronze", **waiting)
    result = serving("status")
    assert result.exit_code == 0, result.output
    gold = next(line for line in result.output.splitlines() if line.startswith("gold"))
    assert gold.split()[:3] == ["gold", "running", "running"]
    assert "1,234 (5s)" in gold
    assert "waiting for broker" in result.output


@pytest.mark.parametrize("observed", [Observed.BROKEN, Observed.REFUSED, Observed.STALLED, Observed.DIRTY])
def test_status_is_1_and_says_what_to_do_when_one_is_unwell(
    serving: Command, fake_host: FakeHost, observed: Observed
) -> None:
    note = FailureNote("fault", "It broke.", NOON, "Mend it.")
    fake_host.engine.found["gold"] = status_now("gold", observed=observed, last_error=note)
    result = serving("status")
    assert result.exit_code == 1
    assert "gold: It broke.\n  -> Mend it." in result.output


def test_a_late_answer_is_shown_as_unknown(serving: Command, fake_host: FakeHost) -> None:
    gold = fake_host.engine.found["gold"]
    fake_host.engine.found["gold"] = replace(gold, observed=Observed.RUNNING, valid_until=NOON)
    result = serving("status")
    assert result.exit_code == 1
    assert "unknown" in result.output


def test_rtap_status_has_a_line_for_each_stream(serving: Command) -> None:
    result = CliRunner().invoke(stack_status)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()[-4:]] == list(STREAM_NAMES)


def test_logs_shows_the_last_lines_and_says_when_there_are_none(serving: Command, fake_host: FakeHost) -> None:
    assert "no stream host was started here" in str(serving("logs").exception)
    fake_host.settings.log_dir.mkdir()
    (fake_host.settings.log_dir / "stream-host.log").write_text("".join(f"line {number}\n" for number in range(9)))
    assert serving("logs", "-n", "2").output == "line 7\nline 8\n"
