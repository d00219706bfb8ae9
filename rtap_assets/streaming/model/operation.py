"""An operation: one command to one stream, its steps and how it ended, as host, client and Dagster exchange it.

Values only: standard library, no Spark, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from rtap_assets.streaming.model.states import as_instant, as_text


class Action(StrEnum):
    """What may be asked: of a stream, and (the last three) of the tables."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    DRAIN = "drain"
    MAINTAIN = "maintain"
    CORRECT = "correct"
    ERASE = "erase"
    REJUDGE = "rejudge"


STREAM_ACTIONS = (Action.START, Action.STOP, Action.RESTART, Action.DRAIN)
TABLE_ACTIONS = (Action.MAINTAIN, Action.CORRECT, Action.ERASE, Action.REJUDGE)


class OperationState(StrEnum):
    """PENDING until it ends in one of the others."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Step:
    """Something that the operation did or saw."""

    at: datetime
    text: str


@dataclass(frozen=True)
class OperationError:
    """Why it failed, and the next step. `dependency`: what was waited for in vain, where that is the cause."""

    message: str
    remedy: str
    dependency: str | None = None


@dataclass(frozen=True)
class Operation:
    """A snapshot of one command's course. `result` is there when it succeeded, `error` when it failed."""

    id: str
    stream: str
    action: Action
    state: OperationState = OperationState.PENDING
    steps: tuple[Step, ...] = field(default=())
    result: dict[str, Any] | None = None
    error: OperationError | None = None

    @property
    def ended(self) -> bool:
        return self.state is not OperationState.PENDING

    def to_json(self) -> dict[str, Any]:
        """Instants as ISO 8601 in UTC, enums by their values; a step is `{"at", "text"}`."""
        return {
            "id": self.id,
            "stream": self.stream,
            "action": self.action.value,
            "state": self.state.value,
            "steps": [{"at": as_text(step.at), "text": step.text} for step in self.steps],
            "result": self.result,
            "error": None if self.error is None else {"message": self.error.message, "remedy": self.error.remedy},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The operation that `to_json` wrote."""
        error = document["error"]
        return cls(
            id=document["id"],
            stream=document["stream"],
            action=Action(document["action"]),
            state=OperationState(document["state"]),
            steps=tuple(Step(as_instant(step["at"]), step["text"]) for step in document["steps"]),
            result=document["result"],
            error=None if error is None else OperationError(error["message"], error["remedy"]),
        )
