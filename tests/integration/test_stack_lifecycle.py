"""The embedded stack's life: started by two at once, adopted, killed, started again on its data, ended."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import finished, rtap, start_rtap
from confluent_kafka import Producer
from hosted import is_gone
from polling import wait_until
from stack_fixtures import embedded_settings, silent
from stream_fixtures import received

from rtap_assets.config import Settings
from rtap_assets.errors import LocalStackError
from rtap_assets.kafka.clients import client_config
from rtap_assets.local.ports import free_port, is_free
from rtap_assets.local.stack import down, up
from rtap_assets.local.status import status
from rtap_assets.registry.client import Registry

MESSAGE_SECONDS = 30


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, list[str]]]:
    """A stack that two `rtap up` started at the same moment, and what they said."""
    settings = embedded_settings(tmp_path_factory.mktemp("life") / ".rtap")
    both = [start_rtap(settings, "up") for _ in range(2)]
    ends = [finished(command) for command in both]
    said = [output for _, output in ends]
    try:
        assert [code for code, _ in ends] == [0, 0], said
        yield settings, said
    finally:
        down(settings, echo=silent)


def pids(settings: Settings) -> dict[str, int]:
    return {line.service: line.pid for line in status(settings) if line.state == "running"}


def test_two_ups_at_once_start_one_stack_and_a_later_one_adopts_it(own_stack: tuple[Settings, list[str]]) -> None:
    settings, said = own_stack
    assert sorted(pids(settings)) == ["kafka", "registry"]
    lines = "\n".join(said).splitlines()
    assert [sum(word in line for line in lines) for word in (" started ", " adopted ")] == [2, 2]
    before, later = pids(settings), []
    up(settings, echo=later.append)
    assert pids(settings) == before
    assert sum(" adopted " in line for line in later) == 2


def test_a_second_stack_on_the_same_ports_is_refused(own_stack: tuple[Settings, list[str]], tmp_path: Path) -> None:
    settings, _ = own_stack
    second = settings.model_copy(update={"state_dir": tmp_path / ".rtap"})
    holder = pids(settings)["kafka"]
    with pytest.raises(LocalStackError, match=rf"{settings.kafka_port} \(RTAP_KAFKA_PORT\) is taken by .*\(pid {holder}\)"):
        up(second, echo=silent)
    assert status(second) == []
    moved = settings.model_copy(update={"registry_port": settings.ui_port})
    with pytest.raises(LocalStackError, match="RTAP_REGISTRY_PORT asks for"):
        up(moved, echo=silent)


def test_records_and_schemas_survive_kill_9_of_both_and_the_dead_are_named(own_stack: tuple[Settings, list[str]]) -> None:
    settings, _ = own_stack
    producer = Producer({**client_config(settings), "acks": "all"})
    producer.produce(settings.topic_dq, key=b"key", value=b"before the kill")
    assert producer.flush(MESSAGE_SECONDS) == 0
    schema_id = Registry(settings).register("late-value", '{"type": "record", "name": "Late", "fields": []}')
    killed = pids(settings)
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not pids(settings), seconds=60, what="both are dead")

    found = {line.service: line for line in status(settings)}
    assert {name: (line.state, line.pid) for name, line in found.items()} == {
        name: ("died", pid) for name, pid in killed.items()
    }
    assert "--- kafka.log" in found["kafka"].tail
    assert "--- registry.log" in found["registry"].tail

    up(settings, echo=silent)
    assert sorted(pids(settings)) == ["kafka", "registry"]
    assert Registry(settings).versions("late-value").keys() == {schema_id}
    (message,) = received(settings, settings.topic_dq)
    assert (message.key(), message.value()) == (b"key", b"before the kill")


def test_down_leaves_no_process_no_record_and_free_ports(own_stack: tuple[Settings, list[str]]) -> None:
    settings, _ = own_stack
    ended = pids(settings)
    output = rtap(settings, "down")
    assert [line.split("  ")[0] for line in output.splitlines()] == ["Schema registry", "Kafka broker"]
    assert status(settings) == []
    assert ended
    assert all(is_free(port) for port in (settings.kafka_port, settings.kafka_controller_port, settings.registry_port))
    down(settings, echo=silent)  # again: nothing to do, no error


def test_ctrl_c_while_the_stream_host_starts_ends_it_too(tmp_path: Path) -> None:
    settings = embedded_settings(tmp_path / ".rtap").model_copy(update={"streams_port": free_port()})
    command = start_rtap(settings, "streams", "start")
    assert command.stdout is not None
    started = re.fullmatch(r"starting the stream host: process (\d+)\n", command.stdout.readline())
    assert started is not None
    command.send_signal(signal.SIGINT)
    code, output = finished(command)
    assert code == 1, output
    wait_until(lambda: is_gone(int(started[1])), seconds=MESSAGE_SECONDS, what="the host is gone")
    assert status(settings) == []
