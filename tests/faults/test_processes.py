"""Processes of a running platform are killed or frozen: what `rtap` and Dagster say, within a minute, and that all is exact.

One platform for all tests; each begins with its four streams running. The times until the truth was told are printed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest
from alert_receivers import WebReceiver, web_receiver
from commands import rtap
from dagster_runs import launch, newest_state_checks, run_status, run_worker, terminate
from operated import TRUTH_SECONDS, Fault, Operated, frozen, kill, operated_platform
from polling import wait_until
from pydantic import SecretStr

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.host.lock import running_host
from rtap_assets.local.code_server import STEADY_SECONDS
from rtap_assets.local.pid_files import record_of
from rtap_assets.local.status import status
from rtap_assets.streaming.model.operation import Operation, OperationState
from rtap_assets.streaming.model.states import Desired

DAEMON_SECONDS = 60  # the least that the setting takes: the daemon's heartbeat comes every half minute
SERVICES = 8  # broker, registry, code server, webserver, daemon, dashboard, stream host, generator


@pytest.fixture(scope="module")
def receiver() -> Iterator[WebReceiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def started(receiver: WebReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    alerts = {
        "alert_webhooks": SecretStr(receiver.url), "alert_daemon_seconds": DAEMON_SECONDS, "alert_group_seconds": 0,
        "alert_recovery_seconds": 0,
    }  # fmt: skip
    with operated_platform(tmp_path_factory.mktemp("processes") / ".rtap", **alerts) as platform:
        yield platform


@pytest.fixture
def platform(started: Operated) -> Operated:
    """The platform as a whole, whatever a failed test left of it."""
    if any(line.state != "running" for line in status(started.settings)) or started.told() != {"running"}:
        rtap(started.settings, "up", "--ui", "--streams")
        started.command("start")
        started.wait_for("running", after="platform started again")
    return started


def test_a_killed_host_is_started_anew_by_the_supervisor_and_the_streams_resume(platform: Operated) -> None:
    host = platform.client.host()
    platform.send()
    fault = Fault("host killed")
    kill(psutil.Process(host.pid))
    fault.until(lambda: "running" not in platform.told(), "rtap says that nothing runs")
    assert {one.desired for one in platform.client.statuses()} == {Desired.RUNNING}
    fault.until(lambda: "running" not in platform.shown(), "Dagster says that nothing runs")
    fault.until(lambda: new_host(platform, after=host.pid), "a new host is started")
    platform.wait_for("running", after="new host started")
    platform.assert_exact()


def new_host(platform: Operated, *, after: int) -> bool:
    note = running_host(platform.settings)
    return note is not None and note.pid != after


def test_of_a_host_that_is_frozen_in_parts_nothing_is_believed_and_it_goes_on(platform: Operated) -> None:
    host = platform.client.host()
    assert host.jvm_pid is not None
    assert platform.health() == 200
    platform.send()
    fault = Fault("Python of the host frozen")
    with frozen(host.pid):
        fault.until(lambda: platform.told() == {"unknown"}, "rtap says unknown")
        assert {one.desired for one in platform.client.statuses()} == {Desired.RUNNING}
        assert platform.health() == 0
        said = rtap(platform.settings, "streams", "status", exit_code=1)
        assert all(f"{name:<6}  running  unknown" in said for name in STREAM_NAMES), said
        fault.until(lambda: platform.shown() == {"unknown"}, "Dagster says unknown")
        platform.send()
    Fault("Python of the host continued").until(lambda: platform.told() == {"running"}, "rtap says running")

    platform.send()
    fault = Fault("JVM frozen")
    with frozen(host.jvm_pid):
        fault.until(lambda: platform.told() == {"stalled"}, "rtap says stalled")
        fault.until(lambda: platform.health() == 503, "/healthz says 503")
        fault.until(lambda: platform.shown() == {"stalled"}, "Dagster says stalled")
        platform.send()
    platform.wait_for("running", after="JVM continued")
    assert (platform.client.host(), platform.health()) == (host, 200)
    platform.assert_exact()


def test_killed_dagster_disturbs_no_stream_and_tells_the_truth_once_it_is_back(platform: Operated) -> None:
    host, before = platform.client.host(), {one.name: one.last_batch_id or 0 for one in platform.client.statuses()}
    fault = Fault("daemon and webserver killed")
    kill(*platform.family("dagster-daemon", "dagster-webserver"))
    said = rtap(platform.settings, "status", exit_code=1)
    assert said.count(" died ") == 2, said
    platform.send()
    fault.until(
        lambda: all((one.last_batch_id or 0) > before[one.name] for one in platform.client.statuses()),
        "every stream has committed without Dagster",
    )
    assert (platform.client.host(), platform.told()) == (host, {"running"})

    rtap(platform.settings, "streams", "stop", "gold")
    checks = newest_state_checks(platform.settings)
    gold = checks[ASSET_OF_STREAM["gold"].to_user_string()]
    assert gold["observed"] == "running"
    assert believed_seconds(platform) <= platform.settings.status_validity_seconds

    fault = Fault("daemon and webserver are started again")
    adopted = rtap(platform.settings, "up", "--ui")
    started = [line.split(" started ")[0].strip() for line in adopted.splitlines() if " started " in line]
    assert started == ["Dagster daemon", "Dagster webserver"], adopted
    fault.until(lambda: platform.shown() == {"running", "stopped"}, "Dagster says what runs and what is stopped")
    assert newest_state_checks(platform.settings)[ASSET_OF_STREAM["gold"].to_user_string()]["passed"]
    assert platform.client.host() == host
    rtap(platform.settings, "streams", "start", "gold")
    platform.assert_exact()


def test_a_frozen_daemon_is_an_alert_that_the_host_sends_and_its_return_is_sent_too(
    platform: Operated, receiver: WebReceiver
) -> None:
    def heard() -> list[str]:
        return [one["kind"] for _, body in receiver.got for one in body["alerts"] if one["rule"] == "daemon"]

    record = record_of(platform.settings, "dagster-daemon")
    assert record is not None
    receiver.got.clear()
    with frozen(record.pid):
        # Its last heartbeat may be as old as the pause between two; the host looks every quarter of a minute.
        wait_until(lambda: heard() == ["raised"], seconds=DAEMON_SECONDS + 60, what="the receiver has the alert")
        assert "daemon/dagster-daemon" in rtap(platform.settings, "alerts", "list")
        assert platform.told() == {"running"}
    wait_until(lambda: heard() == ["raised", "recovered"], seconds=120, what="the receiver has the recovery")
    assert "daemon/dagster-daemon" not in rtap(platform.settings, "alerts", "list")
    platform.assert_exact()


def test_definitions_that_crash_begin_anew_and_a_code_server_that_cannot_stay_up_is_told_as_dead(platform: Operated) -> None:
    host = platform.client.host()
    record = record_of(platform.settings, "dagster-code-server")
    assert record is not None
    server = psutil.Process(record.pid)
    killed = serving(server)
    assert len(killed) == 1
    wait_until(lambda: time.time() - killed[0].create_time() > STEADY_SECONDS + 1, seconds=60, what="definitions are steady")
    fault = Fault("process with the definitions killed")
    kill(*killed)
    rtap(platform.settings, "streams", "stop", "gold")
    fault.until(lambda: serving(server) not in ([], killed), "the code server has begun anew")
    fault.until(lambda: platform.shown() == {"running", "stopped"}, "Dagster says what runs and what is stopped")
    assert "died" not in rtap(platform.settings, "status")

    fault = Fault("process with the definitions killed again and again")

    def is_given_up() -> bool:
        kill(*serving(server))
        return not server.is_running()

    fault.until(is_given_up, "the code server has ended")
    said = rtap(platform.settings, "status", exit_code=1)
    assert said.count(" died ") == 1, said
    assert "The Dagster code (pid " in said
    assert "It did not live long, so it is not started again" in said

    rtap(platform.settings, "streams", "start", "gold")
    fault = Fault("code server started again")
    assert "Dagster code" in rtap(platform.settings, "up", "--ui")
    fault.until(lambda: platform.shown() == {"running"}, "Dagster says what runs")
    assert platform.client.host() == host


def serving(server: psutil.Process) -> list[psutil.Process]:
    """The processes with the definitions; none once the server has ended."""
    try:
        return [child for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def believed_seconds(platform: Operated) -> float:
    """For how long what Dagster shows may be believed at most, by its own word."""
    checks = newest_state_checks(platform.settings).values()
    return float(max(round(one["valid until"] - one["observed at"], 3) for one in checks))


def asked_in_vain(platform: Operated, job: str) -> tuple[str, list[Operation]]:
    """A run that has asked something of each stream, in a JVM that is frozen meanwhile, and what it asked."""
    since = len(platform.log())
    run = launch(platform.settings, job)
    wait_until(
        lambda: len(platform.operations(since=since)) == len(STREAM_NAMES), seconds=TRUTH_SECONDS, what=f"{job} has asked"
    )
    asked = platform.operations(since=since)
    assert {one.state for one in asked} == {OperationState.PENDING}
    return run, asked


def states(platform: Operated, operations: list[Operation]) -> set[OperationState]:
    return {platform.client.operation(one.id).state for one in operations}


def test_of_killed_runs_it_is_said_and_what_they_asked_for_is_done_all_the_same(platform: Operated) -> None:
    jvm = platform.client.host().jvm_pid
    assert jvm is not None
    platform.send()
    for job, state in (("stop_streams", "stopped"), ("start_streams", "running")):
        with frozen(jvm):
            run, asked = asked_in_vain(platform, job)
            fault = Fault(f"run of {job} killed")
            kill(psutil.Process(run_worker(platform.settings, run)))
            fault.until(lambda run=run: run_status(platform.settings, run) == "FAILURE", "its run has failed")  # type: ignore[misc]
        platform.wait_for(state, after=f"JVM continued, {job}")
        assert {one.desired for one in platform.client.statuses()} == {Desired(state)}
        assert states(platform, asked) == {OperationState.SUCCEEDED}
    platform.assert_exact()


def test_a_cancelled_run_leaves_no_operation_behind_and_what_is_desired_happens(platform: Operated) -> None:
    jvm = platform.client.host().jvm_pid
    assert jvm is not None
    platform.command("stop")
    platform.send()
    with frozen(jvm):
        run, asked = asked_in_vain(platform, "start_streams")
        fault = Fault("run of start_streams cancelled")
        terminate(platform.settings, run)
        fault.until(lambda: run_status(platform.settings, run) == "CANCELED", "its run is cancelled")
        fault.until(lambda: states(platform, asked) == {OperationState.CANCELLED}, "its operations are cancelled")
    platform.wait_for("running", after="JVM continued, cancelled start_streams")
    assert {one.desired for one in platform.client.statuses()} == {Desired.RUNNING}
    platform.assert_exact()


def test_two_runs_that_start_the_streams_at_once_do_not_fight(platform: Operated) -> None:
    platform.command("stop")
    platform.send()
    since = len(platform.log())
    runs = [launch(platform.settings, "start_streams") for _ in range(2)]
    began = Fault("two runs of start_streams")
    began.until(lambda: {run_status(platform.settings, run) for run in runs} == {"SUCCESS"}, "both have succeeded")
    asked = platform.operations(since=since)
    assert sorted(one.stream for one in asked) == sorted([*STREAM_NAMES, *STREAM_NAMES])
    assert {one.state for one in asked} == {OperationState.SUCCEEDED}
    started = [line.split()[2] for line in platform.log()[since:] if ": started, every " in line]
    assert sorted(started) == sorted(f"{name}:" for name in STREAM_NAMES), "each query was started once"
    platform.wait_for("running", after="two runs of start_streams have ended")
    platform.assert_exact()


def test_a_platform_killed_as_a_whole_resumes_what_is_desired(platform: Operated) -> None:
    rtap(platform.settings, "up", "--ui", "--streams", "--generate", "200")
    before = platform.client.status("bronze").last_batch_id or 0
    Fault("generator started").until(
        lambda: (platform.client.status("bronze").last_batch_id or 0) > before + 1, "bronze takes its events"
    )
    fault = Fault("everything killed")
    kill(*platform.family())
    said = rtap(platform.settings, "status", exit_code=1)
    assert said.count(" died ") == SERVICES, said
    fault.until(lambda: platform.told() <= {"stopped", "dirty"}, "rtap says that nothing runs")
    assert {one.desired for one in platform.client.statuses()} == {Desired.RUNNING}
    assert believed_seconds(platform) <= platform.settings.status_validity_seconds

    rtap(platform.settings, "up", "--ui", "--streams")
    platform.wait_for("running", after="everything started again")
    platform.assert_exact()
