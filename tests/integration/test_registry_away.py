"""The registry does not answer: a drain gives up with a clear error; a continuous stream waits, says so, and goes on."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from selectors import EVENT_READ, DefaultSelector
from threading import Thread
from urllib.parse import urlsplit

import pytest
from event_bytes import Record
from poison import Writer
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import ask, drain, running, send, snapshots

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.local.ports import free_ports
from rtap_assets.registry.client import Registry

IN_GOLD = "SELECT count(*), sum(orders) FROM gold"
PATIENCE_SECONDS = 1.0


@contextmanager
def forwarded(port: int, target: tuple[str, int]) -> Iterator[None]:
    """The port leads to the target for the time of the block; before and after, it refuses."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = Thread(target=_forward, args=(listener, target))
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _forward(listener: socket.socket, target: tuple[str, int]) -> None:
    """Copy bytes both ways between what connects and the target, until the listener is shut down."""
    selector, peers = DefaultSelector(), {}
    selector.register(listener, EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                try:
                    near = listener.accept()[0]
                except OSError:
                    for one in peers:
                        one.close()
                    return
                far = socket.create_connection(target)
                peers |= {near: far, far: near}
                for one in (near, far):
                    selector.register(one, EVENT_READ)
            elif (one := key.fileobj) in peers and not _copied(one, peers[one]):
                for end in (one, peers[one]):
                    selector.unregister(end)
                    end.close()
                    del peers[end]


def _copied(one: socket.socket, other: socket.socket) -> bool:
    """Copy what has come; return whether the connection goes on: either side may end or reset it at any moment."""
    try:
        data = one.recv(65_536)
        other.sendall(data)
    except OSError:
        return False
    return bool(data)


def test_streams_wait_for_the_registry_and_a_drain_gives_up(spark: SparkSession, streams: Settings) -> None:
    (port,) = free_ports(1)
    address = urlsplit(streams.registry_url)
    away = {
        "registry_url": address._replace(netloc=f"127.0.0.1:{port}").geturl(),
        "request_timeout_seconds": 2.0,
        "dependency_patience_seconds": PATIENCE_SECONDS,
    } | {f"trigger_{name}_seconds": 0.2 for name in ("bronze", "dlq", "silver", "gold")}
    cut_off = streams.model_copy(update=away)
    v1_id, v2_id = Registry(streams).versions(streams.events_subject)
    send(streams, [Record(Writer(v1_id, v2_id, at=datetime.now(UTC)).v1())])
    before = snapshots(streams)

    started = time.monotonic()
    with pytest.raises(DependencyUnavailable) as caught:
        drain(spark, cut_off, "bronze")
    assert re.match(
        rf"bronze gave up after waiting \d+ s for The schema registry at http://127\.0\.0\.1:{port}/.* did not list ",
        caught.value.message,
    )
    assert "RTAP_REGISTRY_URL" in caught.value.remedy
    assert PATIENCE_SECONDS < time.monotonic() - started < PATIENCE_SECONDS + 10
    assert snapshots(streams) == before

    with running(spark, cut_off) as said:
        waiting = (
            "bronze: WAITING for registry: The schema registry at",
            "gold: WAITING for registry: The schema registry at",
        )
        wait_until(
            lambda: all(any(line.startswith(text) for line in said) for text in waiting), seconds=60, what=lambda: str(said)
        )
        assert not any(line.startswith(("bronze: started", "gold: started")) for line in said)
        with forwarded(port, (address.hostname or "", address.port or 0)):
            wait_until(lambda: ask(streams, IN_GOLD) == [(5, 5)], seconds=90, what=lambda: str(said))
    assert any(line.startswith("gold: goes on after waiting for registry") for line in said)
    assert ask(streams, "SELECT count(DISTINCT event_id), count(*) FROM silver") == [(1, 1)]
    assert ask(streams, IN_GOLD) == [(5, 5)]
    assert sum(line.startswith(waiting[0]) for line in said) == 1  # said once, not at each attempt
