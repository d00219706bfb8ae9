"""Background processes, their records, ports and the lock: with shell commands in the place of the real services."""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from polling import wait_until

from rtap_assets.commands.local.stack import status
from rtap_assets.config import Settings, get_settings, load_settings
from rtap_assets.errors import LocalStackError
from rtap_assets.local import stack
from rtap_assets.local.lock import stack_lock
from rtap_assets.local.pid_files import records, write_record
from rtap_assets.local.ports import is_free, require_free_ports
from rtap_assets.local.processes import Service, start, stop, wait_ready
from rtap_assets.local.status import status as services
from rtap_assets.runtime.background import interrupted_afterwards


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap")


def shell_service(script: str, *, name: str = "worker", is_ready=lambda: True) -> Service:
    return Service(name=name, title=name, command=["/bin/sh", "-c", script], is_ready=is_ready)


def test_a_started_process_is_nobodys_child_has_its_own_session_and_is_found_again(settings: Settings) -> None:
    record = start(settings, shell_service("sleep 60 & wait"))
    assert os.getsid(record.pid) != os.getsid(0)
    assert psutil.Process(record.pid).ppid() != os.getpid()
    assert records(settings) == [record]
    assert [line.state for line in services(settings)] == ["running"]
    said: list[str] = []
    stack.down(settings, echo=said.append)
    assert said == ["worker             stopped"]
    assert services(settings) == []


def test_a_record_that_was_removed_since_the_folder_was_listed_is_none(settings: Settings) -> None:
    settings.run_dir.mkdir(parents=True)
    (settings.run_dir / "stopped.json").symlink_to("removed")  # listed, and not there when it is opened
    assert records(settings) == []


def test_an_interrupt_waits_until_a_started_process_has_its_record(settings: Settings) -> None:
    def interrupted_start() -> None:
        with interrupted_afterwards():
            signal.raise_signal(signal.SIGINT)
            start(settings, shell_service("sleep 60"))

    with pytest.raises(KeyboardInterrupt):
        interrupted_start()
    (record,) = records(settings)
    assert stop(record) == "stopped"
    with pytest.raises(KeyboardInterrupt):  # and the next one acts at once
        signal.raise_signal(signal.SIGINT)


def test_a_process_that_dies_while_it_starts_is_named_with_its_last_lines(settings: Settings) -> None:
    service = shell_service("echo 'disk on fire' >&2; exit 3", is_ready=lambda: False)
    record = start(settings, service)
    with pytest.raises(LocalStackError, match=r"(?s)The worker \(pid \d+\) died while it started.*disk on fire"):
        wait_ready(service, record, seconds=30)


def test_a_process_that_never_answers_is_an_error_after_its_deadline(settings: Settings) -> None:
    service = shell_service("echo thinking; sleep 60", is_ready=lambda: False)
    record = start(settings, service)
    with pytest.raises(LocalStackError, match=r"(?s)does not answer .* after 0.3 s.*thinking"):
        wait_ready(service, record, seconds=0.3)
    assert stop(record) == "stopped"


def test_a_process_that_ignores_sigterm_is_killed_with_its_children_after_the_deadline(settings: Settings) -> None:
    record = start(settings, shell_service("trap '' TERM; sleep 61 & echo ready; wait; sleep 62"))
    wait_until(lambda: "ready" in record.tail(), seconds=60, what="the trap is set")
    family = [psutil.Process(record.pid), *psutil.Process(record.pid).children()]
    assert len(family) == 2
    assert stop(record, seconds=0.3) == "killed after 0.3 s"
    assert record.process() is None
    assert [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []


def test_a_recycled_pid_is_never_mistaken_for_ours_nor_ended(settings: Settings) -> None:
    stranger = start(settings, shell_service("sleep 60"))
    recycled = replace(stranger, service="kafka", create_time=stranger.create_time - 3600, command=["java"])
    write_record(settings, recycled)
    assert recycled.process() is None
    assert stop(recycled) == "was not running"
    assert stranger.process() is not None
    stop(stranger)


def test_down_clears_what_is_half_dead_and_ends_the_rest_in_order(settings: Settings) -> None:
    for name in ("kafka", "registry", "dagster-webserver", "stream-host"):
        start(settings, shell_service("sleep 60", name=name))
    killed = next(record for record in records(settings) if record.service == "registry")
    psutil.Process(killed.pid).kill()
    wait_until(lambda: killed.process() is None, seconds=60, what="the registry is dead")
    said: list[str] = []
    stack.down(settings, echo=said.append)
    assert [line.split()[0] for line in said] == ["dagster-webserver", "stream-host", "registry", "kafka"]
    assert "was not running" in said[2]
    assert list(settings.run_dir.iterdir()) == []


def test_a_taken_port_is_named_with_its_setting_and_holder(settings: Settings) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(LocalStackError, match=rf"port {port} \(RTAP_KAFKA_PORT\) is taken by .*\(pid {os.getpid()}\)"):
            require_free_ports({"RTAP_KAFKA_PORT": port})
    assert is_free(port)


def test_two_services_on_one_port_are_refused() -> None:
    with pytest.raises(LocalStackError, match="cannot share a port: RTAP_KAFKA_PORT=4242, RTAP_REGISTRY_PORT=4242"):
        require_free_ports({"RTAP_KAFKA_PORT": 4242, "RTAP_REGISTRY_PORT": 4242})


def test_the_lock_admits_one_at_a_time_and_tells_the_other_who_holds_it(settings: Settings) -> None:
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with stack_lock(settings, echo=said.append):
            order.append("second")

    with stack_lock(settings, echo=said.append):
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: bool(said), seconds=60, what="the second one waits")
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
    assert said == [f"waiting for another rtap command on {settings.state_dir} (pid {os.getpid()})"]


def test_status_says_that_nothing_is_running_and_exits_0(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTAP_STATE_DIR", str(settings.state_dir))
    get_settings.cache_clear()
    result = CliRunner().invoke(status)
    get_settings.cache_clear()
    assert (result.exit_code, result.output) == (0, f"nothing is running in {settings.state_dir}\n")
