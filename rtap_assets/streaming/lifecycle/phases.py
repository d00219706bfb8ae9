"""The state of one stream: the phase it is in, what is desired of it, and what is known of its checkpoint and failures.

Values only, frozen: `state_machine.step` makes the next state from this one, `observation.observe` the words people see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rtap_assets.streaming.lifecycle.restart_policy import Breaker
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import Desired, FailureNote


@dataclass(frozen=True)
class Wait:
    """A dependency that does not answer, and since when the stream waits for it."""

    dependency: str
    since: datetime


@dataclass(frozen=True)
class Stopped:
    """No query is active, and none is wanted."""

    since: datetime


@dataclass(frozen=True)
class Starting:
    """A query is being started or is active, and has proven nothing yet. `waited`: what earlier attempts failed for."""

    since: datetime
    trigger_seconds: float
    generation: int
    waited: Wait | None = None


@dataclass(frozen=True)
class Running:
    """A query has proven itself by a commit or idle input, at `proven_at` last; `since` begins the unbroken series."""

    since: datetime
    started_at: datetime
    trigger_seconds: float
    generation: int
    proven_at: datetime


@dataclass(frozen=True)
class Stopping:
    """A query is being stopped between batches. Until `finish_by`, a batch that the stop cut off is run to its end.

    `is_finishing`: a query runs that batch alone. `retry_at`: that query failed, and is started again then.
    """

    since: datetime
    finish_by: datetime
    is_finishing: bool = False
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Waiting:
    """A dependency does not answer; tried again at `next_start`, without end."""

    since: datetime
    dependency: str
    next_start: datetime


@dataclass(frozen=True)
class Backoff:
    """The query failed and is started again at `next_start`."""

    since: datetime
    next_start: datetime


@dataclass(frozen=True)
class Broken:
    """The breaker is open: the same fault came again and again."""

    since: datetime


@dataclass(frozen=True)
class Refused:
    """Checkpoint, table and source do not belong together."""

    since: datetime


Phase = Stopped | Starting | Running | Stopping | Waiting | Backoff | Broken | Refused


@dataclass(frozen=True)
class Goal:
    """What is desired. `generation` numbers the commands; a query from before `restart_generation` is replaced."""

    desired: Desired = Desired.STOPPED
    generation: int = 0
    restart_generation: int = 0


@dataclass(frozen=True)
class Health:
    """Failures since the newest proof, faults and restarts since the host began, the newest error, the breaker.

    `restarts` are the reasons of the newest of the `restarted` restarts.
    """

    failures: int = 0
    faults: int = 0
    restarted: int = 0
    restarts: tuple[str, ...] = ()
    last_error: FailureNote | None = None
    breaker: Breaker = field(default_factory=Breaker)


@dataclass(frozen=True)
class StreamState:
    """Everything that decides what happens to a stream next.

    `drains` are the generations of drains that need a query. `observed_generation` is the newest one that the phase serves.
    `closing_seconds` is how long a stop may take while the host closes; None while it does not.
    """

    phase: Phase
    goal: Goal = field(default_factory=Goal)
    observed_generation: int = 0
    drains: frozenset[int] = frozenset()
    checkpoint: CheckpointReading = field(default_factory=CheckpointReading)
    health: Health = field(default_factory=Health)
    is_resumed: bool = False
    is_paused: bool = False
    has_jvm: bool = True
    closing_seconds: float | None = None

    @property
    def has_query(self) -> bool:
        """Whether a query is active or being started."""
        phase = self.phase
        return isinstance(phase, Starting | Running) or (isinstance(phase, Stopping) and phase.retry_at is None)

    @property
    def runs_on(self) -> bool:
        """Whether the stream keeps running when no drain needs it."""
        return self.goal.desired is Desired.RUNNING and self.is_resumed


@dataclass(frozen=True)
class Snapshot:
    """One stream at one moment: its state and its newest batch, as the progress log has it."""

    state: StreamState
    newest_batch: Mapping[str, Any]
