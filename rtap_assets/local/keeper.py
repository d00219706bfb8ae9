"""The keeper: starts parts of the embedded stack again that died without a request to end.

It looks at the records of the run folder: a part whose record is there and whose process is gone has died, since an end that
was meant removes the record. After a death it is started at once, then with growing pauses; one that dies again and again is
given up and shown as failed, until `rtap up` starts it. Dagster is not needed for that.

Run as `python -m rtap_assets.local.keeper`; `rtap up` does, and `rtap down` ends it first.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event
from types import FrameType

from rtap_assets.config import Settings, get_settings, settings_environment
from rtap_assets.errors import RtapError
from rtap_assets.host.launcher import HOST_COMMAND, host_output
from rtap_assets.host.lock import running_host
from rtap_assets.local.lock import stack_lock
from rtap_assets.local.pid_files import ProcessRecord, record_of, records, write_given_up, write_record
from rtap_assets.local.processes import Service, start
from rtap_assets.local.services.generator import NAME as GENERATOR
from rtap_assets.local.services.generator import generator_service
from rtap_assets.local.services.stream_host import NAME as STREAM_HOST
from rtap_assets.local.stack import services_to_run
from rtap_assets.runtime.background import spawn_background
from rtap_assets.runtime.processes import creation_time

NAME = "keeper"
TITLE = "Keeper"
POLL_SECONDS = 0.5
LOOKS = 2  # dead at this many looks on end: an end that was meant removes the record a moment later
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
STEADY_SECONDS = 60.0  # a part that lived this long has its deaths forgotten
MOST_DEATHS = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """What the keeper knows of one part: its deaths in a row, and when it may be started next (seconds of the clock)."""

    deaths: int = 0
    started_at: float = 0.0
    next_start: float = 0.0
    dead_looks: int = 0
    seen_pid: int = 0

    @property
    def is_given_up(self) -> bool:
        """Return whether the breaker is open."""
        return self.deaths > MOST_DEATHS


def _after_look(part: Part, *, pid: int, lives: bool, now: float) -> Part:
    """Return what is known after a look at a part's record; a death is counted once, at the last of some looks."""
    if lives:
        is_steady = part.seen_pid == pid and now - part.started_at > STEADY_SECONDS
        is_new = part.seen_pid != pid
        # A part that another command started (`rtap up`) begins with a clean sheet where it had been given up.
        deaths = 0 if is_steady or (is_new and part.is_given_up) else part.deaths
        return replace(part, deaths=deaths, dead_looks=0, seen_pid=pid, started_at=now if is_new else part.started_at)
    looks = part.dead_looks + 1
    if looks != LOOKS:
        return replace(part, dead_looks=looks)
    lived_long = part.seen_pid == pid and now - part.started_at > STEADY_SECONDS
    deaths = 1 if lived_long else part.deaths + 1
    return replace(part, dead_looks=looks, deaths=deaths, next_start=now + pause_seconds(deaths))


def pause_seconds(deaths: int) -> float:
    """Return how long to wait after so many deaths in a row: no time after the first."""
    return 0.0 if deaths <= 1 else min(FIRST_PAUSE_SECONDS * 2.0 ** (deaths - 2), LONGEST_PAUSE_SECONDS)


def is_due(part: Part, *, now: float) -> bool:
    """Return whether a dead part is to be started now."""
    return part.dead_looks >= LOOKS and not part.is_given_up and now >= part.next_start


@dataclass
class Keeper:
    """Looks at all records and starts what is due. `revive` starts one part and returns its new pid."""

    settings: Settings
    revive: Callable[[ProcessRecord], None]
    clock: Callable[[], float] = time.monotonic
    parts: dict[str, Part] = field(default_factory=dict)
    is_starting: bool = False  # not to be interrupted: a process without a record would be left behind
    _given_up: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Look once."""
        for record in records(self.settings):
            if record.service != NAME:
                self._look_at(record)
        given_up = sorted(name for name, part in self.parts.items() if part.is_given_up)
        if given_up != self._given_up:
            self._given_up = given_up
            write_given_up(self.settings, given_up)

    def _look_at(self, record: ProcessRecord) -> None:
        lives, now = record.process() is not None, self.clock()
        before = self.parts.get(record.service) or Part(seen_pid=record.pid, started_at=now - STEADY_SECONDS)
        part = self.parts[record.service] = _after_look(before, pid=record.pid, lives=lives, now=now)
        if part.is_given_up and not before.is_given_up:
            log.error("the %s died %d times in a row: given up", record.title, part.deaths)
        if not is_due(part, now=now):
            return
        # Looked at again by `LOOKS` looks; until then a start that did not help is not repeated.
        self.parts[record.service] = replace(part, dead_looks=0, started_at=now)
        with stack_lock(self.settings, echo=lambda _: None):
            current = record_of(self.settings, record.service)
            if current is None or current.process() is not None:
                return  # ended on purpose, or started by another command, meanwhile
            log.warning("the %s (pid %d) died: started again (death %d)", record.title, record.pid, part.deaths)
            self.is_starting = True
            try:
                self.revive(current)
            except (RtapError, OSError) as error:
                log.warning("the %s was not started: %s", record.title, error)
            finally:
                self.is_starting = False


def keeper_service(settings: Settings) -> Service:
    """Return the keeper as a service that can be started."""
    return Service(
        name=NAME,
        title=TITLE,
        command=[sys.executable, "-m", "rtap_assets.local.keeper"],
        is_ready=lambda: True,  # it listens nowhere
        environment=settings_environment(settings),
        prepare=lambda: write_given_up(settings, []),
    )


def revive(settings: Settings, record: ProcessRecord) -> None:
    """Start the part that left this record."""
    if record.service == STREAM_HOST:
        if running_host(settings) is None:
            pid = spawn_background(HOST_COMMAND, output=host_output(settings), environment=settings_environment(settings))
            # It leaves its own record once it has made sure that it is the only host; until then it is known by this one.
            write_record(settings, replace(record, pid=pid, create_time=creation_time(pid)))
        return
    if record.service == GENERATOR:
        start(settings, generator_service(settings, rate=float(record.command[-1])))
        return
    for service in services_to_run(settings, ui=True):
        if service.name == record.service:
            start(settings, service)


def main() -> None:
    """Look until SIGTERM or SIGINT."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    ending, settings = Event(), get_settings()

    keeper = Keeper(settings, revive=lambda record: revive(settings, record))

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()
        if not keeper.is_starting:
            raise SystemExit(0)  # it may be waiting for the lock of the `rtap down` that ends it

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while not ending.wait(POLL_SECONDS):
        keeper.look()


if __name__ == "__main__":
    main()
