"""An operation: one command to one stream or to the tables, its steps and how it ended, as host and clients exchange it.

Values only: no Spark, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rtap_assets.streaming.model.wire import Instant, Wire


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
class Step(Wire):
    """Something that the operation did or saw."""

    at: Instant
    text: str


@dataclass(frozen=True)
class OperationError(Wire):
    """Why it failed, and the next step. `dependency`: what was waited for in vain, where that is the cause."""

    message: str
    remedy: str
    dependency: str | None = None


@dataclass(frozen=True)
class Operation(Wire):
    """One command at one moment. `result` is there when it succeeded, `error` when it failed.

    A stream serves the `generation` of its command once `observed_generation` of its status has reached it.
    """

    id: str
    stream: str
    action: Action
    state: OperationState = OperationState.PENDING
    steps: tuple[Step, ...] = field(default=())
    result: dict[str, Any] | None = None
    error: OperationError | None = None
    generation: int = 0

    @property
    def ended(self) -> bool:
        """Whether it is over, in whichever way."""
        return self.state is not OperationState.PENDING
