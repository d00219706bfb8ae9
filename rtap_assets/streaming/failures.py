"""What a failed query means: start again, wait for something that is away, or a fault that an operator must see."""

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

# SPARK-54027 / SPARK-55271: after finishing a batch left over by a crash, Kafka's source dies in its metrics. The batch is
# committed by then; the next start goes on after it.
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
DISK_FULL_CODE = "disk_full"
DISK_FULL = ("No space left on device", "Disk quota exceeded", "SQLITE_FULL")

# Also before it: what waiting does not bring.
NEVER = ("No suitable driver", "No FileSystem for scheme", "password authentication failed", "no pg_hba.conf entry")
# One of our own errors that was raised in a batch function, where only its text comes back from Java.
CARRIED = re.compile(r"RTAP_CARRIED_ERROR (\{.*\})")
CARRIED_ERRORS = {
    type_.__name__: type_
    for type_ in (ConfigurationError, ContractError, DependencyUnavailable, RtapError, ServingError, StreamError)
}

JAVA_FAULT = re.compile(r"\b(?:[a-z][\w$]*\.)+([A-Z][\w$]*(?:Exception|Error))\b")
JAVA_PACKAGE = re.compile(r"\b(?:[a-z][\w$]*\.)+(?=[A-Z][\w$]*(?:Exception|Error)\b)")
PY4J_PREFIX = "An error occurred while calling "
CAUSED_BY = "Caused by: "
# What PySpark and Py4J say when the Java process has ended under them.
JVM_HAS_ENDED = ("Answer from Java side is empty", "Error while sending or receiving", "Java process has ended")
LONGEST_REASON = 300
DEPENDENCIES = {"kafka": "broker"}  # as the errors name them -> as states name them


class Verdict(Enum):
    """What to do with a query that ended with an error."""

    RESTART = "restart"
    WAIT = "wait"
    FAULT = "fault"


def verdict_on(error: BaseException) -> tuple[Verdict, str]:
    """Return the verdict on a query's error, and the reason in a few words (for WAIT: what is away)."""
    text = _with_causes(error)
    own = error_in(error)
    if own is not None:
        return (Verdict.WAIT, _dependency(own)) if isinstance(own, DependencyUnavailable) else (Verdict.FAULT, own.message)
    if KAFKA_METRICS_FAULT in text:
        return Verdict.RESTART, "Spark's Kafka source failed in its metrics after a recovered batch (SPARK-54027)"
    if (line := _line_with((*DISK_FULL, *NEVER), text)) is not None:
        return Verdict.FAULT, line
    for dependency, marks in AWAY.items():
        if any(mark in text for mark in marks):
            return Verdict.WAIT, dependency
    return Verdict.FAULT, root_cause(text)


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
    verdict, reason = verdict_on(error)
    if verdict is Verdict.WAIT:
        remedy = "Nothing to do if it comes back by itself; see `rtap status`."
        return Diagnosis(verdict, f"{reason}_away", f"the {reason} does not answer", remedy, reason)
    if verdict is Verdict.RESTART:
        return Diagnosis(verdict, "restart", reason, "Nothing: the stream starts again by itself.")
    return _fault(error, reason, log=log)


def _fault(error: BaseException, reason: str, *, log: str) -> Diagnosis:
    if _line_with(DISK_FULL, reason) is not None:
        remedy = (
            "Make room where checkpoints, lake and temporary files are: the stream then goes on at its checkpoint, or "
            "at once with `rtap streams start`."
        )
        return Diagnosis(Verdict.FAULT, DISK_FULL_CODE, reason, remedy)
    if _is_end_of_jvm(error):
        return Diagnosis(Verdict.FAULT, "jvm_gone", "The Java process has ended.", f"See {log} for why; then run it again.")
    named = JAVA_FAULT.findall(_with_causes(error))
    code = named[-1] if named else type(error).__name__
    remedy = f"The full text is in {log}. The checkpoint is kept: the next start goes on there."
    return Diagnosis(Verdict.FAULT, code, reason, remedy)


def as_error(error: BaseException, *, log: str) -> RtapError:
    """Return a failure of Spark, Java or a library as an error with one sentence and the next step."""
    if isinstance(error, RtapError):
        return error
    found = diagnose(error, log=log)
    kind = DependencyUnavailable if found.verdict is Verdict.WAIT else StreamError
    return kind(f"{found.reason.rstrip('.')}.", remedy=found.remedy, code=found.code)


def root_cause(text: str) -> str:
    """Return the innermost cause that an error's text names, in one line; what it says first where it names none.

    Py4J's own first line names only the object that was called; the next one has the fault. A line that ends with a colon
    is completed by what follows it.
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()] or ["an error without a message"]
    start = 1 if len(lines) > 1 and lines[0].startswith(PY4J_PREFIX) else 0
    causes = [index for index, line in enumerate(lines) if line.startswith(CAUSED_BY)]
    start = causes[-1] if causes else start
    sentence = lines[start].removeprefix(": ").removeprefix(CAUSED_BY)
    following = (line for line in lines[start + 1 :] if not line.startswith(("at ", "... ", "Caused by", "===")))
    while sentence.endswith(":") and (more := next(following, None)) is not None:
        sentence = f"{sentence} {more}"
    return JAVA_PACKAGE.sub("", sentence).rstrip(": ")[:LONGEST_REASON]


def _is_end_of_jvm(error: BaseException) -> bool:
    of_py4j = type(error).__module__.startswith("py4j") or isinstance(error, ConnectionError)
    return isinstance(error, ConnectionError) or (of_py4j and any(mark in str(error) for mark in JVM_HAS_ENDED))


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


def _line_with(marks: Sequence[str], text: str) -> str | None:
    """The first line in which one of the marks is."""
    found = (line.strip()[:500] for line in text.splitlines() if any(mark in line for mark in marks))
    return next(found, None)


def _with_causes(error: BaseException) -> str:
    """What the error says, and its causes with their stack traces: a query's own error has neither."""
    texts, cause = [str(error)], getattr(error, "_cause", None)
    while cause is not None:
        texts += [str(cause), getattr(cause, "_stackTrace", None) or ""]
        cause = getattr(cause, "_cause", None)
    return "\n".join([*texts, getattr(error, "_stackTrace", None) or ""])
