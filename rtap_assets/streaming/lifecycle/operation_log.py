"""The operations of one stream, or of the tables: their steps, their ends, and deadlines that hold while Spark hangs.

Knows no Spark. Shared between the threads that are asked and the one that works; an operation that has ended never changes
again, so that a deadline holds even while the working thread is stuck.
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


@dataclass
class Command:
    """An operation under way. The arguments are kept here alone: an operation that is shown does not have them."""

    operation: Operation
    deadline: datetime
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def action(self) -> Action:
        return self.operation.action


class OperationLog:
    """The newest operations of `subject`; `timeouts` is how many seconds each action may take."""

    def __init__(self, subject: str, *, timeouts: Mapping[Action, float], clock: Callable[[], datetime]) -> None:
        self._subject, self._timeouts, self._clock = subject, timeouts, clock
        self._lock = RLock()
        self._commands: dict[str, Command] = {}

    def submit(self, action: Action, arguments: Mapping[str, Any] | None = None) -> Command:
        """Add a new operation, whose time begins now."""
        with self._lock:
            operation = Operation(uuid4().hex[:12], self._subject, action)
            command = Command(operation, self._clock(), dict(arguments or {}))
            self.begin(command)
            self._commands[operation.id] = command
            self._forget_old()
            return command

    def begin(self, command: Command) -> None:
        """Let the time of a command that had to wait for its turn begin now."""
        command.deadline = self._clock() + timedelta(seconds=self._timeouts[command.action])

    def get(self, identifier: str) -> Operation | None:
        """Return an operation as it stands; None when it is not known (any more)."""
        with self._lock:
            self._fail_overdue()
            command = self._commands.get(identifier)
            return None if command is None else command.operation

    def cancel(self, identifier: str) -> Operation | None:
        """End an operation; one that has ended stays as it is."""
        with self._lock:
            command = self._commands.get(identifier)
            if command is None:
                return None
            self.end(command, OperationState.CANCELLED, step="cancelled")
            return command.operation

    def pending(self) -> list[Command]:
        """Return the commands that have not ended, oldest first."""
        with self._lock:
            self._fail_overdue()
            return self._pending()

    def number(self, command: Command, generation: int) -> None:
        """Note the generation that a stream's command was given."""
        with self._lock:
            command.operation = replace(command.operation, generation=generation)

    def step(self, command: Command, text: str) -> None:
        """Note something that the operation did or saw; the same thing twice in a row is noted once."""
        with self._lock:
            operation = command.operation
            if not operation.ended and (not operation.steps or operation.steps[-1].text != text):
                command.operation = replace(operation, steps=(*operation.steps, Step(self._clock(), text)))

    def succeed(self, command: Command, result: Mapping[str, Any], *, step: str) -> None:
        """End a command with its result."""
        self.end(command, OperationState.SUCCEEDED, step=step, result=dict(result))

    def fail(self, command: Command, error: OperationError) -> None:
        """End a command with its cause and the next step."""
        self.end(command, OperationState.FAILED, step=f"failed: {error.message}", error=error)

    def end(
        self,
        command: Command,
        state: OperationState,
        *,
        step: str,
        result: dict[str, Any] | None = None,
        error: OperationError | None = None,
    ) -> None:
        """End a command in any state."""
        with self._lock:
            if not command.operation.ended:
                self.step(command, step)
                command.operation = replace(command.operation, state=state, result=result, error=error)

    def _pending(self) -> list[Command]:
        return [one for one in self._commands.values() if not one.operation.ended]

    def _fail_overdue(self) -> None:
        """Fail what is past its deadline: the last resort where Spark has not returned to the thread that would judge it."""
        now = self._clock() - timedelta(seconds=LAST_RESORT_SECONDS)
        for command in self._pending():
            if now > command.deadline:
                steps = command.operation.steps
                seen = f"; the last step was: {steps[-1].text}" if steps else ""
                message = f"{self._subject} did not {command.action} within {self._timeouts[command.action]:g} s{seen}."
                remedy = "Look at the stream's state and the log of the host; if the host hangs, end it and start it again."
                self.fail(command, OperationError(message, remedy))

    def _forget_old(self) -> None:
        ended = [identifier for identifier, one in self._commands.items() if one.operation.ended]
        for identifier in ended[:-KEPT]:
            del self._commands[identifier]
