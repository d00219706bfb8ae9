"""The stream host process: one Spark session, the engine and its API, from the first lock to the last drain.

It ends on SIGTERM, SIGINT or a caller's shutdown with a drain that leaves what is desired as it is; in the background also
when it is idle; and at once, with an exit code of its own, when its JVM has died.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Event, Thread, Timer
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from rtap_assets.alerts.host_watch import AlertWatch
from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError, StreamError
from rtap_assets.host.api import Host, build_app
from rtap_assets.host.connections import ImpatientProtocol
from rtap_assets.host.description import HostDescription
from rtap_assets.host.idle import Activity
from rtap_assets.host.lock import only_host
from rtap_assets.host.token import ensure_token
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.quality.batch_totals import BatchTotals
from rtap_assets.runtime.locks import OwnerNote
from rtap_assets.streaming.checkpoints.ownership import owned_checkpoints, refuse_a_living_owner
from rtap_assets.streaming.failures import Verdict, verdict_on
from rtap_assets.streaming.lifecycle.engine import StreamEngine
from rtap_assets.streaming.session import start_session

JVM_DIED_EXIT_CODE = 3
API_STOP_SECONDS, JVM_STOP_SECONDS, TABLES_RETRY_SECONDS = 5, 20, 2.0
LOG_MAX_BYTES, LOG_FILES = 10_000_000, 3

log = logging.getLogger(__name__)


def stop_seconds(settings: Settings) -> float:
    """Return the seconds that a host may take from SIGTERM to its end: the drain, and the ends of API and JVM."""
    return settings.stop_timeout_seconds + API_STOP_SECONDS + JVM_STOP_SECONDS


def serve(settings: Settings, *, background: bool, recorded: Callable[[], None] = lambda: None) -> None:
    """Be the stream host until asked to end. `recorded` is called once this process is the only one.

    Raises:
        StreamError: there is a host or another owner of the checkpoints, or a stream was stopped in the middle of a batch.
        ConfigurationError: the port is taken.
    """
    _log_to(settings.log_dir / "stream-host.log", terminal=not background)
    ending = _Ending()
    with only_host(settings) as note, _bound_socket(settings) as listener:
        refuse_a_living_owner(settings)
        recorded()
        ending.on_signals()
        log.info("stream host of %s starts: process %s", settings.state_dir, note.pid)
        session = start_session(settings)
        ending.on_signals()  # Spark put its own handler in place
        with owned_checkpoints(session, settings, what="stream host"):
            clean: dict[str, bool] = {}
            if _tables_are_there(session, settings, ending):
                clean = _serve_streams(session, settings, note, listener, ending, leave_when_idle=background)
        session.stop()
    dirty = [name for name, stopped in clean.items() if not stopped]
    if dirty:
        raise StreamError(
            f"Stopped in the middle of a batch: {', '.join(dirty)}.",
            remedy="The next start repeats it.",
            has_ended=True,
        )
    log.info("stream host ended: all streams stopped between batches")


class _Ending:
    """Why the host should end, as soon as there is a reason."""

    def __init__(self) -> None:
        self.asked = Event()
        self.reason = ""

    def ask(self, reason: str) -> None:
        if not self.asked.is_set():
            self.reason = reason
            self.asked.set()

    def on_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _: FrameType | None) -> None:
        if self.reason == "SIGINT" and number == signal.SIGINT:
            _exit_at_once(1)  # a second Ctrl-C: end without waiting for the drain
        self.ask(signal.Signals(number).name)


def _tables_are_there(session: SparkSession, settings: Settings, ending: _Ending) -> bool:
    """Make sure of the tables, however long the catalog is away; False when asked to end meanwhile."""
    while not ending.asked.is_set():
        try:
            ensure_tables(session, settings.catalog_name)
        except (Py4JJavaError, PySparkException) as error:
            verdict, reason = verdict_on(error)
            if verdict is not Verdict.WAIT:
                raise
            log.warning("waiting for the %s: the tables cannot be looked up", reason)
            ending.asked.wait(TABLES_RETRY_SECONDS)
        else:
            return True
    return False


def _serve_streams(
    session: SparkSession,
    settings: Settings,
    note: OwnerNote,
    listener: socket.socket,
    ending: _Ending,
    *,
    leave_when_idle: bool,
) -> dict[str, bool]:
    """Run engine and API until there is a reason to end; returns for each stream whether its stop was clean."""
    totals = BatchTotals()
    jvm: Any = session.sparkContext._jvm
    engine = StreamEngine(session, settings, on_batch=totals.add)
    jvm_pid = int(jvm.java.lang.ProcessHandle.current().pid())
    info = HostDescription(note.pid, note.since, str(settings.state_dir), version("rtap-assets"), jvm_pid)
    host = Host(engine, info, Activity(engine), shutdown=ending.ask, totals=totals)
    engine.resume()
    drained = Event()
    Thread(target=_watch_jvm, args=(host, settings, drained), name="jvm-watch", daemon=True).start()
    AlertWatch(settings, engine.statuses).start(drained)
    with _api(host, settings, listener):
        log.info("stream host serves at %s", settings.streams_address)
        _wait_for_the_end(host, settings, ending, leave_when_idle=leave_when_idle)
        host.stopping.set()
        _leave_by(stop_seconds(settings))
        log.info("stream host ends (%s): draining", ending.reason)
        clean = engine.close(seconds=settings.stop_timeout_seconds)
        drained.set()
    return clean


def _wait_for_the_end(host: Host, settings: Settings, ending: _Ending, *, leave_when_idle: bool) -> None:
    while not ending.asked.wait(settings.host_watch_seconds):
        if leave_when_idle and host.activity.idle_seconds() > settings.host_idle_seconds:
            ending.ask(f"nothing to do for {settings.host_idle_seconds:g} s")


def _watch_jvm(host: Host, settings: Settings, drained: Event) -> None:
    """End this process when its JVM has died: nothing it says could be true any more, and no drain is possible."""
    while not drained.wait(settings.host_watch_seconds):
        if not host.engine.jvm_is_alive():
            log.critical(
                "The JVM (pid %s) has died. The stream host ends; the next one resumes what is desired.", host.info.jvm_pid
            )
            _exit_at_once(JVM_DIED_EXIT_CODE)


@contextmanager
def _api(host: Host, settings: Settings, listener: socket.socket) -> Iterator[None]:
    """The API answers for the time of the block, from a thread of its own (signals stay with the main thread)."""
    config = uvicorn.Config(
        build_app(host, settings, token=ensure_token(settings)),
        log_config=None,
        access_log=False,
        lifespan="off",
        http=ImpatientProtocol,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=API_STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="api", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(API_STOP_SECONDS + 1)


@contextmanager
def _bound_socket(settings: Settings) -> Iterator[socket.socket]:
    """The port, taken before the slow start and opened after it: until then, callers are refused and do not hang."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.streams_bind else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener:
        try:
            listener.bind((settings.streams_bind, settings.streams_port))
        except OSError as error:
            raise ConfigurationError(
                f"The stream host cannot listen on {settings.streams_bind}:{settings.streams_port}: {error.strerror}.",
                remedy="Set RTAP_STREAMS_PORT to a free port; `rtap doctor` says who holds this one.",
            ) from error
        yield listener


def _leave_by(seconds: float) -> None:
    """End this process by then, whatever it is waiting for: a frozen JVM never answers."""

    def leave() -> None:
        log.error(
            "Streams and JVM did not end within %g s; leaving without them. The next start repeats open batches", seconds
        )
        _exit_at_once(1)

    watchdog = Timer(seconds, leave)
    watchdog.daemon = True
    watchdog.start()


def _exit_at_once(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # threads of py4j may wait for a JVM that never answers


def _log_to(path: Path, *, terminal: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handlers: list[logging.Handler] = [RotatingFileHandler(path, maxBytes=LOG_MAX_BYTES, backupCount=LOG_FILES - 1)]
    handlers += [logging.StreamHandler(sys.stdout)] if terminal else []
    logger = logging.getLogger("rtap_assets")
    logger.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    logging.getLogger("py4j").setLevel(logging.CRITICAL)  # it prints a stack trace for each call to a dead JVM
