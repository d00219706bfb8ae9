"""What a failed query means: start again, wait for something that is away, or a fault that a person must see."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rtap_assets.errors import (
    ConfigurationError,
    ContractError,
    DependencyUnavailable,
    RtapError,
    ServingError,
    StreamError,
)

# SPARK-54027 / SPARK-55271: after finishing a batch left over by a crash, Kafka's source dies in its metrics. Nothing is
# lost or doubled; the next start goes on.
KAFKA_METRICS_FAULT = "KafkaMicroBatchStream.metrics"
AWAY = {
    "broker": (
        "org.apache.kafka.common.errors.TimeoutException",
        "org.apache.kafka.common.errors.DisconnectException",
        "No resolvable bootstrap urls",
        "Failed to construct kafka consumer",
        "Cannot fetch record for offset",
    ),
    "catalog": ("SQLITE_BUSY", "database is locked", "UncheckedSQLException", "org.postgresql.util.PSQLException"),
}
# Before `AWAY`: a catalog whose disk is full answers, and waiting does not help.
DISK_FULL = ("No space left on device", "Disk quota exceeded", "SQLITE_FULL")

# One of our own errors that was raised in a batch function, where only its text comes back from Java.
CARRIED = re.compile(r"RTAP_CARRIED_ERROR (\{.*\})")
CARRIED_ERRORS = {
    type_.__name__: type_
    for type_ in (ConfigurationError, ContractError, DependencyUnavailable, RtapError, ServingError, StreamError)
}

JAVA_FAULT = re.compile(r"\b(?:[a-z][\w$]*\.)+([A-Z][\w$]*(?:Exception|Error))\b")
PY4J_PREFIX = "An error occurred while calling "
DEPENDENCIES = {"kafka": "broker"}  # as the errors name them -> as states name them


class Verdict(Enum):
    """What to do with a query that ended with an error."""

    RESTART = "restart"
    WAIT = "wait"
    FAULT = "fault"


def judge(error: BaseException) -> tuple[Verdict, str]:
    """The verdict on a query's error, and the reason in a few words (for WAIT: what is away)."""
    text = _with_causes(error)
    own = error_in(error)
    if own is not None:
        return (Verdict.WAIT, _dependency(own)) if isinstance(own, DependencyUnavailable) else (Verdict.FAULT, own.message)
    if KAFKA_METRICS_FAULT in text:
        return Verdict.RESTART, "Spark's Kafka source failed in its metrics after a recovered batch (SPARK-54027)"
    if (line := _line_with(DISK_FULL, text)) is not None:
        return Verdict.FAULT, line
    for dependency, marks in AWAY.items():
        if any(mark in text for mark in marks):
            return Verdict.WAIT, dependency
    return Verdict.FAULT, _first_line(text)


@dataclass(frozen=True)
class Diagnosis:
    """A failure in the words that people see. `dependency` is what to wait for, where the verdict is WAIT."""

    verdict: Verdict
    code: str
    reason: str
    remedy: str
    dependency: str | None = None


def diagnose(error: BaseException, *, log: str) -> Diagnosis:
    """What a failed start or a failed query means; `log` is where the whole story is."""
    error = error_in(error) or error
    if isinstance(error, DependencyUnavailable):
        dependency = _dependency(error)
        return Diagnosis(Verdict.WAIT, f"{dependency}_away", error.message, error.remedy, dependency)
    if isinstance(error, RtapError):
        return Diagnosis(Verdict.FAULT, type(error).__name__, error.message, error.remedy)
    verdict, reason = judge(error)
    if verdict is Verdict.WAIT:
        remedy = "Nothing to do if it comes back by itself; see `rtap status`."
        return Diagnosis(verdict, f"{reason}_away", f"the {reason} does not answer", remedy, reason)
    if verdict is Verdict.RESTART:
        return Diagnosis(verdict, "restart", reason, "Nothing: the stream starts again by itself.")
    if _line_with(DISK_FULL, reason) is not None:
        remedy = "Make room where checkpoints, lake and temporary files are, then `rtap streams start`; nothing was lost."
        return Diagnosis(verdict, "disk_full", reason, remedy)
    named = JAVA_FAULT.findall(_with_causes(error))
    code = named[-1] if named else type(error).__name__
    return Diagnosis(verdict, code, reason, f"See {log}; the checkpoint is kept, nothing was lost.")


def carried(error: RtapError) -> RuntimeError:
    """Return the error in a form that survives the way through Java; `error_in` finds it again."""
    document = {
        "type": type(error).__name__,
        "message": error.message,
        "remedy": error.remedy,
        "context": {key: str(value) for key, value in error.context.items()},
    }
    return RuntimeError(f"RTAP_CARRIED_ERROR {json.dumps(document)}")


def error_in(error: BaseException) -> RtapError | None:
    """Return our own error that ended a query: the error itself, or the one that a batch function raised."""
    if isinstance(error, RtapError):
        return error
    found = CARRIED.search(_with_causes(error))
    if found is None:
        return None
    document = json.loads(found[1])
    type_ = CARRIED_ERRORS.get(document["type"], RtapError)
    return type_(document["message"], remedy=document["remedy"], **document["context"])


def _dependency(error: DependencyUnavailable) -> str:
    name = str(error.context.get("dependency", "dependency"))
    return DEPENDENCIES.get(name, name)


def _first_line(text: str) -> str:
    """What an error says first. Py4J's own first line names only the object that was called; the next one has the fault."""
    lines = text.strip().splitlines()
    line = lines[1].removeprefix(": ") if len(lines) > 1 and lines[0].startswith(PY4J_PREFIX) else lines[0]
    return line[:500]


def _line_with(marks: Sequence[str], text: str) -> str | None:
    """The first line in which one of the marks is."""
    found = (line.strip()[:500] for line in text.splitlines() if any(mark in line for mark in marks))
    return next(found, None)


def _with_causes(error: BaseException) -> str:
    """What the error says, and its causes with their stack traces: a query's own error has neither."""
    told, cause = [str(error)], getattr(error, "_cause", None)
    while cause is not None:
        told += [str(cause), getattr(cause, "_stackTrace", None) or ""]
        cause = getattr(cause, "_cause", None)
    return "\n".join([*told, getattr(error, "_stackTrace", None) or ""])
