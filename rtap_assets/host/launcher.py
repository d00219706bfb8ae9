"""Making sure that a stream host runs (the one that answers is adopted, else one is started), and ending it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from rtap_assets.config import Settings, settings_environment
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.host.client import StreamsClient, is_port_closed
from rtap_assets.host.description import HostDescription
from rtap_assets.host.lock import running_host
from rtap_assets.runtime.background import interrupted_afterwards, spawn_background
from rtap_assets.runtime.processes import living_process, tail

HOST_COMMAND = [sys.executable, "-m", "rtap_assets.cli", "streams", "serve", "--background"]
POLL_SECONDS = 0.1
END_SECONDS = 30.0  # for the ends of its API and its JVM, on a busy machine
MOST_STARTS = 2  # the first may meet a host that is just ending


def ensure_host(
    settings: Settings, *, echo: Callable[[str], None] = lambda _: None, client: StreamsClient | None = None
) -> HostDescription:
    """The host of this state folder, started when there is none. Of several callers at once, one starts it.

    A host that it started is ended again when Ctrl-C, or the cancelling of a run, comes before its first answer.

    Raises:
        DependencyUnavailable: it is an external one and does not answer, or did not within `startup_timeout_seconds`.
        StreamError: it died while it started; the message holds its last lines.
        ConfigurationError: a host of another state folder answers.
    """
    own = client or StreamsClient(settings)
    try:
        return _ensure(settings, own, echo)
    finally:
        if client is None:
            own.close()


def end_host(client: StreamsClient, settings: Settings, *, echo: Callable[[str], None]) -> None:
    """End the host that answers and wait until it is gone. Its streams stop between batches; what is desired stays.

    Raises:
        DependencyUnavailable: a host does not answer.
        StreamError: it has not ended within its time.
    """
    try:
        host = client.host()
    except DependencyUnavailable as error:
        if is_port_closed(error) and running_host(settings) is None:
            echo("no stream host is running")
            return
        raise
    client.shutdown()
    echo(f"the stream host (process {host.pid}) stops its streams between batches and ends")
    most = settings.stop_timeout_seconds + END_SECONDS
    deadline = time.monotonic() + most
    while not _has_ended(client, settings):
        if time.monotonic() > deadline:
            raise StreamError(
                f"The stream host (process {host.pid}) has not ended after {most:g} s.",
                remedy="See `rtap streams logs`; `rtap down` ends it all the same.",
            )
        time.sleep(POLL_SECONDS)
    echo("ended")


def changed_settings(settings: Settings, pid: int) -> list[str]:
    """Return the names of the settings that a running host was started with another value of.

    Of a host started by hand only what its own environment names is known; [] when the process may not be looked at.
    """
    try:
        its = psutil.Process(pid).environ()
    except psutil.Error:
        return []
    return sorted(name for name, value in settings_environment(settings).items() if its.get(name, value) != value)


def host_output(settings: Settings) -> Path:
    """Where a host in the background writes what it says outside its log."""
    return settings.log_dir / "stream-host.out"


def _ensure(settings: Settings, client: StreamsClient, echo: Callable[[str], None]) -> HostDescription:
    # A host that is just ending may take its time for the drain first.
    deadline = time.monotonic() + settings.startup_timeout_seconds + settings.stop_timeout_seconds
    started: list[int] = []
    with _ended_when_interrupted(started):
        while True:
            try:
                host = client.host()
                if not host.stopping:
                    how = "started" if host.pid in started else "adopted"
                    echo(f"stream host {how}: process {host.pid}, since {host.since:%Y-%m-%d %H:%M:%S}Z")
                    return host
            except DependencyUnavailable as error:
                if not settings.uses_embedded_host or time.monotonic() > deadline:
                    raise
                if running_host(settings) is None and not any(living_process(pid) for pid in started):
                    if len(started) == MOST_STARTS:
                        raise _died(settings, started[-1]) from error
                    with interrupted_afterwards():
                        started.append(_begin(settings))
                    echo(f"starting the stream host: process {started[-1]}")
            if time.monotonic() > deadline:
                raise DependencyUnavailable(
                    f"The stream host at {settings.streams_address} has been about to end for too long.",
                    remedy="See `rtap streams logs`; `rtap down` ends it.",
                    dependency="stream host",
                )
            time.sleep(POLL_SECONDS)


def _begin(settings: Settings) -> int:
    return spawn_background(HOST_COMMAND, output=host_output(settings), environment=settings_environment(settings))


@contextmanager
def _ended_when_interrupted(started: list[int]) -> Iterator[None]:
    """Tell the processes in the list to end when the block is interrupted; an error leaves them, they may only be slow."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        for pid in started:
            if living_process(pid):
                os.kill(pid, signal.SIGTERM)
        raise


def _has_ended(client: StreamsClient, settings: Settings) -> bool:
    if settings.uses_embedded_host and running_host(settings) is not None:
        return False
    try:
        client.host()
    except DependencyUnavailable as error:
        return is_port_closed(error)
    return False


def _died(settings: Settings, pid: int) -> StreamError:
    output = tail(host_output(settings)) or "(it wrote nothing)"
    return StreamError(
        f"The stream host (pid {pid}) died while it started. Its last lines:\n{output}\n",
        remedy=f"Its log is {settings.log_dir / 'stream-host.log'}; `rtap doctor` checks this machine.",
        pid=pid,
    )
