"""States of a stream, one of each phase, and the events that may come to it: the matrix of the state machine's tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rtap_assets.streaming.failures import Diagnosis, Verdict
from rtap_assets.streaming.lifecycle.events import (
    Declared,
    DiskHasRoom,
    DrainDeclared,
    DrainEnded,
    DrainNeedsQuery,
    Event,
    HostClosing,
    HostResumed,
    Inspected,
    JvmEnded,
    Log,
    PersistBreaker,
    QueryEnded,
    QueryStopped,
    RefusalFound,
    StartQuery,
    StopFailed,
    StopQuery,
    TableWorkBegins,
    TableWorkEnds,
)
from rtap_assets.streaming.lifecycle.phases import (
    Backoff,
    Broken,
    Goal,
    Health,
    Refused,
    Running,
    Starting,
    Stopped,
    Stopping,
    StreamState,
    Waiting,
)
from rtap_assets.streaming.lifecycle.restart_policy import Breaker, Policy
from rtap_assets.streaming.lifecycle.state_machine import step
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import Desired, FailureNote

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy(
    trigger_seconds=5,
    running_proof_seconds=25,
    start_seconds=120,
    stop_seconds=30,
    backoff_first_seconds=1,
    backoff_longest_seconds=30,
    breaker_failures=3,
    breaker_healthy_seconds=300,
)


def at(seconds: float) -> datetime:
    """An instant after noon."""
    return NOON + timedelta(seconds=seconds)


TWENTY = at(20)
NOTE = FailureNote("boom", "it burst", at(20), "mend it")
CLEAN, DIRTY = Inspected(CheckpointReading()), Inspected(CheckpointReading(is_dirty=True))
FAULT = Diagnosis(Verdict.FAULT, "boom", "it burst", "mend it")
AWAY = Diagnosis(Verdict.WAIT, "registry_away", "no answer", "wait", "registry")
AGAIN = Diagnosis(Verdict.RESTART, "restart", "SPARK-54027", "")
WANTED = StreamState(Stopped(at(0)), Goal(Desired.RUNNING, 1), observed_generation=1, is_resumed=True)
UNWANTED = StreamState(Stopped(at(0)), Goal(Desired.STOPPED, 1), observed_generation=1, is_resumed=True)

STATES: dict[str, StreamState] = {
    "Stopped": UNWANTED,
    "Starting": replace(WANTED, phase=Starting(at(10), 5, 1)),
    "Running": replace(WANTED, phase=Running(at(12), at(10), 5, 1, at(15))),
    "Stopping": replace(UNWANTED, phase=Stopping(at(10), at(40))),
    "Waiting": replace(WANTED, phase=Waiting(at(10), "registry", at(60))),
    "Backoff": replace(WANTED, phase=Backoff(at(10), at(60))),
    "Broken": replace(WANTED, phase=Broken(at(10)), health=Health(breaker=Breaker(("a", "a", "a"), at(10)))),
    "Refused": replace(WANTED, phase=Refused(at(10))),
}
EVENTS: dict[str, Event] = {
    "start": Declared(Desired.RUNNING, 2),
    "stop": Declared(Desired.STOPPED, 2),
    "restart": Declared(Desired.RUNNING, 2, is_restart=True),
    "drain asked for": DrainDeclared(2),
    "drain needs a query": DrainNeedsQuery(2),
    "drain over": DrainEnded(2),
    "host resumed": HostResumed(),
    "host closing": HostClosing(10),
    "table work begins": TableWorkBegins(),
    "table work ends": TableWorkEnds(),
    "look": CLEAN,
    "proof": Inspected(CheckpointReading(), at(19)),
    "fault": QueryEnded(FAULT, CLEAN),
    "dependency away": QueryEnded(AWAY, CLEAN),
    "stopped, clean": QueryStopped(CLEAN),
    "stopped, batch cut off": QueryStopped(DIRTY),
    "stop failed": StopFailed(NOTE),
    "refusal": RefusalFound(NOTE),
    "JVM ended": JvmEnded(NOTE),
    "room": DiskHasRoom(),
}
SHORT = {StartQuery: "start", StopQuery: "stop", PersistBreaker: "breaker", Log: "log"}


def outcome(state: StreamState, event: Event, now: datetime = TWENTY) -> str:
    after, effects = step(state, event, POLICY, now)
    return " ".join([type(after.phase).__name__, *(f"+{SHORT[type(effect)]}" for effect in effects)])


# What becomes of each phase: the phase after the event and the effects. A phase that is left out stays, without effect.
CHANGES: dict[str, dict[str, str]] = {
    "start": {
        "Stopped": "Starting +breaker +start",
        "Starting": "Starting +breaker",
        "Running": "Running +breaker",
        "Stopping": "Stopping +breaker",
        "Waiting": "Starting +breaker +start",
        "Backoff": "Starting +breaker +start",
        "Broken": "Starting +breaker +start",
        "Refused": "Starting +breaker +start",
    },
    "stop": {
        "Starting": "Stopping +stop",
        "Running": "Stopping +stop",
        "Waiting": "Stopped",
        "Backoff": "Stopped",
        "Broken": "Stopped",
        "Refused": "Stopped",
    },
    "restart": {
        "Stopped": "Starting +breaker +start",
        "Starting": "Stopping +breaker +stop",
        "Running": "Stopping +breaker +stop",
        "Stopping": "Stopping +breaker",
        "Waiting": "Starting +breaker +start",
        "Backoff": "Starting +breaker +start",
        "Broken": "Starting +breaker +start",
        "Refused": "Starting +breaker +start",
    },
    "drain asked for": {},
    "drain needs a query": {
        "Stopped": "Starting +start",
    },
    "drain over": {},
    "host resumed": {},
    "host closing": {
        "Starting": "Stopping +stop",
        "Running": "Stopping +stop",
        "Waiting": "Stopped",
        "Backoff": "Stopped",
        "Broken": "Stopped",
        "Refused": "Stopped",
    },
    "table work begins": {
        "Starting": "Stopping +stop",
        "Running": "Stopping +stop",
    },
    "table work ends": {},
    "look": {
        "Stopping": "Stopping +stop",
    },
    "proof": {
        "Starting": "Running",
        "Stopping": "Stopping +stop",
    },
    "fault": {
        "Starting": "Starting +breaker +log +start",
        "Running": "Starting +breaker +log +start",
        "Stopping": "Stopped",
    },
    "dependency away": {
        "Starting": "Waiting +log",
        "Running": "Waiting +log",
        "Stopping": "Stopped",
    },
    "stopped, clean": {
        "Stopping": "Stopped",
    },
    "stopped, batch cut off": {
        "Stopping": "Stopping +start",
    },
    "stop failed": {
        "Stopped": "Stopped +log",
        "Starting": "Starting +log",
        "Running": "Running +log",
        "Stopping": "Stopping +log",
        "Waiting": "Waiting +log",
        "Backoff": "Backoff +log",
        "Broken": "Broken +log",
        "Refused": "Refused +log",
    },
    "refusal": {
        "Stopped": "Stopped +log",
        "Starting": "Refused +log",
        "Running": "Refused +log",
        "Stopping": "Stopped +log",
        "Waiting": "Waiting +log",
        "Backoff": "Backoff +log",
        "Broken": "Broken +log",
        "Refused": "Refused +log",
    },
    "JVM ended": {
        "Starting": "Stopped",
        "Running": "Stopped",
        "Stopping": "Stopped",
        "Waiting": "Stopped",
        "Backoff": "Stopped",
        "Broken": "Stopped",
        "Refused": "Stopped",
    },
    "room": {
        "Broken": "Starting +log +breaker +start",
    },
}
