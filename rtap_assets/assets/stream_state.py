"""The check `stream_state` on what each stream writes: the state as the host observed it, and until when to believe it.

The supervisor sensor renews it without a run; the check may also be executed by hand. A result past its `valid until` is no
longer a statement about now: Dagster goes on showing it, so description and metadata say that it means "unknown".
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dagster as dg

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.assets.metadata import as_check_result
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus

STREAM_STATE = "stream_state"
AS_DESIRED = {Desired.RUNNING: Observed.RUNNING, Desired.STOPPED: Observed.STOPPED}
NEEDS_A_PERSON = frozenset({Observed.BROKEN, Observed.REFUSED})

SPECS = [
    dg.AssetCheckSpec(
        STREAM_STATE,
        asset=key,
        description=f"Whether the {stream} stream is as desired (running or stopped), as the stream host observes it. "
        "Renewed by the sensor stream_supervisor. Each result carries `valid until`: past that instant the state is "
        "unknown, whatever is shown here.",
    )
    for stream, key in ASSET_OF_STREAM.items()
]


def state_evaluation(status: StreamStatus) -> dg.AssetCheckEvaluation:
    """What the check says of a status, without a run.

    Passed when observed is as desired; an error when only an operator can help, else a warning.
    """
    return dg.AssetCheckEvaluation(
        asset_key=ASSET_OF_STREAM[status.name],
        check_name=STREAM_STATE,
        passed=AS_DESIRED.get(status.desired) is status.observed,
        severity=dg.AssetCheckSeverity.ERROR if status.observed in NEEDS_A_PERSON else dg.AssetCheckSeverity.WARN,
        description=_description(status),
        metadata=_metadata(status),
    )


@dg.multi_asset_check(specs=SPECS, name=STREAM_STATE, can_subset=True)
def stream_state(context: dg.AssetCheckExecutionContext, streams: StreamHost) -> Iterator[dg.AssetCheckResult]:
    """Ask the stream host now."""
    selected: set[dg.AssetKey] = {key.asset_key for key in context.selected_asset_check_keys}
    for status in streams.statuses():
        if ASSET_OF_STREAM[status.name] in selected:
            yield as_check_result(state_evaluation(status))


def state_line(status: StreamStatus) -> str:
    """One stream in a few words: `silver waiting for registry (desired running)`."""
    what = f"{status.name} {status.observed}"
    if status.observed is Observed.UNKNOWN:
        return what
    if status.waiting_for:
        what += f" for {status.waiting_for}"
    return what if AS_DESIRED.get(status.desired) is status.observed else f"{what} (desired {status.desired})"


def _description(status: StreamStatus) -> str:
    desired = "" if status.observed is Observed.UNKNOWN else f", desired {status.desired}"
    lines = [
        f"{status.observed.upper()} since {_clock(status.since)}{desired}. Observed at "
        f"{_clock(status.observed_at)}, valid until {_clock(status.valid_until)}; after that, read it as UNKNOWN."
    ]
    if status.waiting_for:
        lines.append(f"Waits for: {status.waiting_for}.")
    if status.last_error is not None and status.observed is not AS_DESIRED.get(status.desired):
        lines.append(f"{status.last_error.message} {status.last_error.remedy}".rstrip())
    return " ".join(lines)


def _metadata(status: StreamStatus) -> dict[str, Any]:
    """Instants as timestamps; what is not known is left out, and so never shown as zero."""
    error = status.last_error
    values: dict[str, Any] = {shown.label: getattr(status, field) for field, shown in status.shown().items() if shown.label}
    values |= {
        "desired": None if status.observed is Observed.UNKNOWN else status.desired.value,
        "observed": status.observed.value,
        "lag (s)": None if status.lag_seconds is None else round(status.lag_seconds, 1),
        "failures": status.failures or None,
        "last error": None if error is None else f"{error.code}: {error.message}",
        "last error at": None if error is None else error.at,
        "last error over since": status.since if status.error_is_over else None,
        "next step": None if error is None or status.error_is_over else error.remedy,
    }
    return {
        name: dg.MetadataValue.timestamp(value) if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }


def _clock(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}Z"
