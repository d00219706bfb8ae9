"""The pending commands of one stream: which may act now, which must wait, which are overtaken, which are overdue.

Knows nothing of Spark. Shared between the thread that is asked and the thread that runs the stream; an operation that has
ended never changes again, so that a deadline holds even while the running thread is stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import RLock
from typing import Any
from uuid import uuid4

from rtap_assets.streaming.model.operation import Action, Operation, OperationError, OperationState, Step

KEPT = 200
LAST_RESORT_SECONDS = 5.0
TOGETHER = frozenset({Action.START, Action.DRAIN})  # these two, and twice the same start, stop or drain, do not disturb


@dataclass
class Command:
    """An operation under way, with what it was asked for. `memory` is what the runner keeps for it between two ticks."""

    operation: Operation
    deadline: datetime
    is_active: bool = False
    memory: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def action(self) -> Action:
        return self.operation.action


class OperationBook:
    """The operations of one stream; `timeouts` is how many seconds each action may take."""

    def __init__(self, stream: str, *, timeouts: Mapping[Action, float], clock: Callable[[], datetime]) -> None:
        self._stream, self._timeouts, self._clock = stream, timeouts, clock
        self._lock = RLock()
        self._commands: dict[str, Command] = {}

    def submit(self, action: Action, arguments: Mapping[str, Any] | None = None) -> Operation:
        """A new operation. A stop overtakes the starts, restarts and drains before it; everything else waits its turn.

        The arguments are kept with the command alone: an operation that is shown does not have them.
        """
        with self._lock:
            operation = Operation(uuid4().hex[:12], self._stream, action)
            if action is Action.STOP:
                for command in self._pending():
                    if command.action is not Action.STOP:
                        self.end(command, OperationState.CANCELLED, step=f"overtaken by stop {operation.id}")
            deadline = self._clock() + timedelta(seconds=self._timeouts[action])
            self._commands[operation.id] = Command(operation, deadline, arguments=dict(arguments or {}))
            self._forget_old()
            return operation

    def get(self, identifier: str) -> Operation | None:
        with self._lock:
            self._fail_overdue()
            command = self._commands.get(identifier)
            return None if command is None else command.operation

    def cancel(self, identifier: str) -> Operation | None:
        """End an operation; what was desired stays desired, and a stream that ran for a drain alone stops."""
        with self._lock:
            command = self._commands.get(identifier)
            if command is None:
                return None
            self.end(command, OperationState.CANCELLED, step="cancelled")
            return command.operation

    def active(self, action: Action | None = None) -> list[Command]:
        """The commands that act now, oldest first."""
        with self._lock:
            self._fail_overdue()
            return [one for one in self._pending() if one.is_active and action in (None, one.action)]

    def activate(self) -> list[Command]:
        """Let the commands act that nothing before them disturbs; returns the new ones, whose time begins now."""
        with self._lock:
            self._fail_overdue()
            before: list[Command] = []
            new = []
            for command in self._pending():
                if not command.is_active and not any(_disturb(one.action, command.action) for one in before):
                    command.is_active = True
                    command.deadline = self._clock() + timedelta(seconds=self._timeouts[command.action])
                    new.append(command)
                before.append(command)
            return new

    @property
    def has_pending(self) -> bool:
        with self._lock:
            return bool(self._pending())

    def step(self, command: Command, text: str) -> None:
        """Note something that the operation did or saw; the same thing twice in a row is said once."""
        with self._lock:
            operation = command.operation
            if not operation.ended and (not operation.steps or operation.steps[-1].text != text):
                command.operation = replace(operation, steps=(*operation.steps, Step(self._clock(), text)))

    def succeed(self, command: Command, result: dict[str, Any], *, step: str) -> None:
        self.end(command, OperationState.SUCCEEDED, step=step, result=result)

    def fail(self, command: Command, message: str, *, remedy: str) -> None:
        self.end(command, OperationState.FAILED, step=f"failed: {message}", error=OperationError(message, remedy))

    def end(
        self,
        command: Command,
        state: OperationState,
        *,
        step: str,
        result: dict[str, Any] | None = None,
        error: OperationError | None = None,
    ) -> None:
        with self._lock:
            if not command.operation.ended:
                self.step(command, step)
                command.operation = replace(command.operation, state=state, result=result, error=error)

    def _pending(self) -> list[Command]:
        return [one for one in self._commands.values() if not one.operation.ended]

    def _fail_overdue(self) -> None:
        """The last resort: the runner judges its own deadlines, unless Spark has not returned to it."""
        now = self._clock() - timedelta(seconds=LAST_RESORT_SECONDS)
        for command in self._pending():
            if now > command.deadline:
                steps = command.operation.steps
                seen = f"; the last step was: {steps[-1].text}" if steps else ""
                self.fail(
                    command,
                    f"{self._stream} did not {command.action} within {self._timeouts[command.action]:g} s{seen}.",
                    remedy="Look at the stream's state and the log of the host; if the host hangs, end it and start anew.",
                )

    def _forget_old(self) -> None:
        ended = [identifier for identifier, one in self._commands.items() if one.operation.ended]
        for identifier in ended[:-KEPT]:
            del self._commands[identifier]


def _disturb(one: Action, other: Action) -> bool:
    if one is other:
        return one is Action.RESTART
    return not {one, other} <= TOGETHER
