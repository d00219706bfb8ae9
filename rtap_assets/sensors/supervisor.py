"""The sensor `stream_supervisor`: desired against observed, every ten seconds; starts a host that died; raises alerts.

A tick does not wait. What it must remember until the next is in its cursor, so that a restarted daemon goes on from there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import dagster as dg

# The code server evaluates sensors side by side in threads. Dagster imports this at the first use, and two threads that do
# so at once can leave it half imported: the tick fails.
import sqlalchemy.orm  # noqa: F401

from rtap_assets.assets.keys import ASSET_OF_STREAM, STREAM_OF_ASSET
from rtap_assets.assets.stream_state import (
    NEEDS_A_PERSON,
    state_evaluation,
    state_line,
)
from rtap_assets.config import Settings
from rtap_assets.errors import RtapError
from rtap_assets.resources.streams import StreamHost
from rtap_assets.sensors.instance import instance_of
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus
from rtap_assets.streaming.model.wire import as_instant, as_text

INTERVAL_SECONDS = 10
RENEWAL_MARGIN_SECONDS = 2 * INTERVAL_SECONDS  # one tick may be late
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30, 600
ABSENT = frozenset({Observed.STOPPED, Observed.DIRTY, Observed.UNKNOWN})


@dataclass
class Memory:
    """The cursor: what was last reported of each stream and when; how often the host was started in vain, and when."""

    reported: dict[str, dict[str, str]] = field(default_factory=dict)
    starts: int = 0
    started_at: str = ""

    @classmethod
    def of(cls, cursor: str | None) -> Self:
        """Return what the cursor holds; nothing of one of another version, so that all states are reported again."""
        found = json.loads(cursor) if cursor else {}
        return cls(**found) if found.keys() <= {one.name for one in fields(cls)} else cls()

    def as_cursor(self) -> str:
        return json.dumps(asdict(self))


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares what is desired of each stream with what is observed. Renews the checks stream_state before they "
    "lapse and at once on a change, starts an embedded stream host that died, and alerts on an open breaker.",
)
def stream_supervisor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], streams: StreamHost
) -> dg.SensorResult:
    """Ask the host once and report what is due."""
    now, memory = datetime.now(UTC), Memory.of(context.cursor)
    statuses = streams.statuses()
    notice = revive_host(statuses, memory, now=now, begin=streams.begin)
    events = due_events(
        statuses,
        memory,
        now=now,
        validity_seconds=settings.status_validity_seconds,
        materialized=_materialized_by_runs(instance_of(context)),
        waiting_alert_seconds=settings.waiting_alert_seconds,
    )
    for event in events:
        if isinstance(event, dg.AssetObservation):
            context.log.error(event.description)
    if notice:
        context.log.warning(notice)
    summary = ", ".join(state_line(status) for status in statuses)
    return dg.SensorResult(
        asset_events=events, cursor=memory.as_cursor(), skip_reason=f"{summary}. {notice}" if notice else f"{summary}."
    )


def _materialized_by_runs(instance: dg.DagsterInstance) -> dict[str, datetime]:
    """Return stream -> when its asset was last materialized, where that was by a run.

    The UI shows no check result that is older than that. Materializations without a run hide no result without a run.
    """
    events = instance.get_latest_materialization_events(list(STREAM_OF_ASSET))
    found = {STREAM_OF_ASSET[key]: event for key, event in events.items() if event is not None and event.run_id}
    return {stream: datetime.fromtimestamp(event.timestamp, UTC) for stream, event in found.items()}


def due_events(
    statuses: Sequence[StreamStatus],
    memory: Memory,
    *,
    now: datetime,
    validity_seconds: float,
    materialized: Mapping[str, datetime],
    waiting_alert_seconds: float = float("inf"),
) -> list[dg.AssetCheckEvaluation | dg.AssetObservation]:
    """Return the check results that are due, and an observation for each stream that has come to need an operator."""
    renewal = timedelta(seconds=max(validity_seconds - RENEWAL_MARGIN_SECONDS, validity_seconds / 2))
    events: list[dg.AssetCheckEvaluation | dg.AssetObservation] = []
    for status in statuses:
        has_waited_long = _waits_too_long(status, now=now, seconds=waiting_alert_seconds)
        before, key = memory.reported.get(status.name), _change_key(status) + ("/long" if has_waited_long else "")
        if before is not None and before["change_key"] == key:
            reported_at = as_instant(before["at"])
            if now - reported_at < renewal and materialized.get(status.name, reported_at) <= reported_at:
                continue
        events.append(state_evaluation(status))
        if (status.observed in NEEDS_A_PERSON or has_waited_long) and (before is None or before["change_key"] != key):
            events.append(_alert(status))
        memory.reported[status.name] = {"change_key": key, "at": as_text(now)}
    return events


def _waits_too_long(status: StreamStatus, *, now: datetime, seconds: float) -> bool:
    """Return whether a stream has waited for something that is away for longer than this."""
    return status.observed is Observed.WAITING and (now - status.since).total_seconds() > seconds


def revive_host(statuses: Sequence[StreamStatus], memory: Memory, *, now: datetime, begin: Callable[[], bool]) -> str:
    """Start the host when streams should run and none does, with a growing pause while that does not help.

    Return the notice for the log, or an empty string. `begin` starts nothing while a host's process lives.
    """
    wanted = [status for status in statuses if status.desired is Desired.RUNNING]
    if not wanted or any(status.observed not in ABSENT for status in wanted):
        if wanted:
            memory.starts, memory.started_at = 0, ""
        return ""
    pause = timedelta(seconds=min(FIRST_PAUSE_SECONDS * 2.0 ** (memory.starts - 1), LONGEST_PAUSE_SECONDS))
    if memory.starts and now - as_instant(memory.started_at) < pause:
        return f"A start of the stream host was tried at {memory.started_at}; it does not answer yet."
    try:
        is_tried, notice = begin(), "The stream host was away; it was started and resumes what is desired."
    except RtapError as error:
        is_tried, notice = True, f"The stream host could not be started: {error}"
    if not is_tried:
        return "The stream host does not answer, though its process lives or it is not ours to start."
    memory.starts, memory.started_at = memory.starts + 1, as_text(now)
    return notice


def _change_key(status: StreamStatus) -> str:
    """Return the fields whose change is reported immediately."""
    error = status.last_error.code if status.last_error is not None else ""
    return "/".join((status.desired, status.observed, status.waiting_for or "", error))


def _alert(status: StreamStatus) -> dg.AssetObservation:
    evaluation = state_evaluation(status)
    text = f"The {status.name} stream needs an operator. {evaluation.description}"
    metadata: dict[str, Any] = {**evaluation.metadata, "alert": f"{status.name} {status.observed}"}
    return dg.AssetObservation(asset_key=ASSET_OF_STREAM[status.name], description=text, metadata=metadata)
