"""The life of a stream host process: started, adopted, alone, ended, killed in parts, and resumed by the next one.

The tests build on one another, in this order; at the end every event is counted.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
import pytest
from commands import run_rtap, start_rtap
from hosted import (
    COMMAND_SECONDS,
    END_SECONDS,
    START_SECONDS,
    assert_exact,
    by_name,
    hosted_settings,
    is_gone,
    wait_for_running,
)
from polling import wait_until
from stream_fixtures import send_events

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.description import HostDescription
from rtap_assets.host.launcher import ensure_host
from rtap_assets.host.lock import running_host
from rtap_assets.host.process import JVM_DIED_EXIT_CODE
from rtap_assets.host.token import token_path
from rtap_assets.local.ports import free_port
from rtap_assets.local.status import status as services
from rtap_assets.streaming.model.states import Desired, Observed


@pytest.fixture(scope="module")
def hosted(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a state folder with a port for its host."""
    with hosted_settings(stack, tmp_path_factory.mktemp("host") / ".rtap") as settings:
        yield settings


@pytest.fixture
def client(hosted: Settings) -> Iterator[StreamsClient]:
    with StreamsClient(hosted) as client:
        yield client


def test_a_host_is_started_once_and_adopted_after_that(hosted: Settings, client: StreamsClient) -> None:
    said: list[str] = []
    first = ensure_host(hosted, echo=said.append)
    assert ensure_host(hosted, echo=said.append) == first
    assert [" started" in said[1], " adopted" in said[2]] == [True, True]
    assert stat.S_IMODE(token_path(hosted).stat().st_mode) == 0o600
    assert first.state_dir == str(hosted.state_dir)
    assert first.jvm_pid is not None
    assert psutil.Process(first.jvm_pid).ppid() == first.pid
    assert {(one.desired, one.observed) for one in client.statuses()} == {(Desired.STOPPED, Observed.STOPPED)}
    connections = psutil.Process(first.pid).net_connections("tcp")
    assert {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_streams_start_with_proof_and_a_second_start_adopts(hosted: Settings, client: StreamsClient) -> None:
    send_events(hosted, events=2_000, duplicates=0.02, delayed=0, invalid=0.02, span_seconds=1800)
    code, output = run_rtap(hosted, "streams", "start")
    assert code == 0, output
    assert "adopted" in output
    for name in STREAM_NAMES:
        assert f"\n{name}" in output
    wait_for_running(client)
    started = datetime.now(UTC)
    assert run_rtap(hosted, "streams", "start", "gold")[0] == 0
    assert by_name(client)["gold"].since < started


def test_status_knows_the_host_and_each_stream(hosted: Settings, client: StreamsClient) -> None:
    code, output = run_rtap(hosted, "status")
    assert code == 0, output
    assert f"127.0.0.1:{hosted.streams_port}" in output
    for name in STREAM_NAMES:
        assert f"\n{name}" in output
    assert run_rtap(hosted, "streams", "status")[0] == 0
    (line,) = services(hosted)
    assert (line.service, line.state, line.pid) == ("stream-host", "running", client.host().pid)


@pytest.mark.parametrize("other_port", [False, True])
def test_a_second_host_is_refused_with_pid_and_since(hosted: Settings, client: StreamsClient, other_port: bool) -> None:
    second = hosted.model_copy(update={"streams_port": free_port()}) if other_port else hosted
    first = client.host()
    code, output = run_rtap(second, "streams", "serve")
    assert code == 1
    assert f"process {first.pid} (stream host, since {first.since:%Y-%m-%d %H:%M}" in output
    assert client.host() == first
    assert [line.pid for line in services(hosted)] == [first.pid]


def test_a_drain_beside_the_host_is_refused_with_pid_and_since(hosted: Settings, client: StreamsClient) -> None:
    code, output = run_rtap(hosted, "drain", "bronze")
    assert code == 1
    assert f"in use by process {client.host().pid} (stream host, since 20" in output


def test_sigterm_stops_between_batches_and_keeps_what_is_desired(hosted: Settings, client: StreamsClient) -> None:
    first = client.host()
    os.kill(first.pid, signal.SIGTERM)
    wait_until(lambda: is_gone(first.pid), seconds=END_SECONDS, what="the host has ended")
    assert services(hosted) == []
    wait_until(lambda: is_gone(first.jvm_pid or 0), seconds=END_SECONDS, what="its JVM too")
    assert {(one.desired, one.observed) for one in client.statuses()} == {(Desired.RUNNING, Observed.STOPPED)}
    assert "all streams stopped between batches" in (hosted.log_dir / "stream-host.log").read_text(encoding="utf-8")


def killed(hosted: Settings, client: StreamsClient, *, python: bool, jvm: bool) -> HostDescription:
    """Kill parts of the host with -9 while there is work; returns the host that was."""
    host = client.host()
    send_events(hosted, events=1_000, duplicates=0.02, delayed=0, invalid=0.02, span_seconds=1800)
    assert host.jvm_pid is not None
    for pid in [*([host.pid] if python else []), *([host.jvm_pid] if jvm else [])]:
        os.kill(pid, signal.SIGKILL)
    return host


def test_a_host_in_the_foreground_resumes_and_ends_with_its_own_exit_code_when_its_jvm_was_killed(
    hosted: Settings, client: StreamsClient
) -> None:
    with start_rtap(hosted, "streams", "serve") as foreground:
        wait_until(lambda: running_host(hosted) is not None, seconds=START_SECONDS, what="it is the host")
        assert ensure_host(hosted).pid == foreground.pid, "a host in the foreground is adopted"
        wait_for_running(client)
        killed(hosted, client, python=False, jvm=True)
        output, _ = foreground.communicate(timeout=END_SECONDS)
        assert foreground.returncode == JVM_DIED_EXIT_CODE, output
        assert "has died. The stream host ends" in output
    assert {one.observed for one in client.statuses()} <= {Observed.STOPPED, Observed.DIRTY}
    (line,) = services(hosted)
    assert line.state == "died"
    ensure_host(hosted)
    wait_for_running(client)


@pytest.mark.parametrize("jvm", [False, True], ids=["python alone", "both"])
def test_a_killed_host_is_never_shown_as_running_and_the_next_one_resumes(
    hosted: Settings, client: StreamsClient, jvm: bool
) -> None:
    host = killed(hosted, client, python=True, jvm=jvm)
    wait_until(lambda: is_gone(host.pid), seconds=END_SECONDS, what="the host is dead")
    told = client.statuses()
    assert {one.observed for one in told} <= {Observed.UNKNOWN, Observed.STOPPED, Observed.DIRTY}
    (line,) = services(hosted)
    assert (line.state, line.pid) == ("died", host.pid)
    assert ensure_host(hosted.model_copy(update={"host_idle_seconds": 1})).pid != host.pid
    wait_for_running(client)


def test_after_all_that_every_event_is_there_once(hosted: Settings, client: StreamsClient) -> None:
    for name in STREAM_NAMES:
        result = client.wait(client.submit(name, "drain"), seconds=COMMAND_SECONDS).result
        assert result is not None
        assert json.dumps(result)
    assert [batch["batch_id"] for batch in client.progress("bronze", limit=5)]
    assert_exact(hosted)


def test_a_host_leaves_by_itself_once_nothing_should_run(hosted: Settings, client: StreamsClient) -> None:
    host = client.host()
    code, output = run_rtap(hosted, "streams", "stop")
    assert code == 0, output
    wait_until(lambda: is_gone(host.pid), seconds=END_SECONDS, what="the idle host has left")
    assert {(one.desired, one.observed) for one in client.statuses()} == {(Desired.STOPPED, Observed.STOPPED)}
    assert services(hosted) == []
    assert "nothing to do for 1 s" in (hosted.log_dir / "stream-host.log").read_text(encoding="utf-8")
