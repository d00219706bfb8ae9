"""The jobs that start, stop, restart and drain the streams. Each is short and ends with proof or cause."""

from enum import StrEnum

import dagster as dg
from pydantic import Field

from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.errors import RtapError
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.model.operation import Action, Operation

# A command overtakes materializations that wait in the queue.
PRIORITY = {"dagster/priority": "10"}


# The streams as the launchpad offers them: Dagster shows the names of an enum's members.
StreamName = StrEnum("StreamName", [(name, name) for name in STREAM_NAMES])  # type: ignore[misc]


class Selection(dg.Config):
    """Which streams a command is for."""

    streams: list[StreamName] = Field(
        # As plain text: Dagster cannot keep a member of our enum as a default.
        default=list(STREAM_NAMES),  # type: ignore[arg-type]
        min_length=1,
        description=f"Which streams: any of {', '.join(STREAM_NAMES)}. By default all, which is what you want unless one of "
        "them has a fault of its own.",
    )


def _command(action: Action, description: str) -> dg.JobDefinition:
    @dg.op(name=action.value, description=description)
    def command(context: dg.OpExecutionContext, config: Selection, streams: StreamHost) -> None:
        chosen = [stream for stream in STREAM_NAMES if stream in config.streams]
        context.log.info(f"{action}: {', '.join(chosen)}")
        try:
            for operation in streams.command(action, chosen, echo=context.log.info):
                context.log.info(f"{operation.stream}: {action} proven{_summary(operation)}")
        except RtapError as error:
            raise dg.Failure(error.message, metadata={"next step": error.remedy or "See `rtap streams status`."}) from error

    @dg.job(
        name=f"{action}_streams",
        description=description,
        config={"ops": {action.value: {"config": {"streams": list(STREAM_NAMES)}}}},  # fills the launchpad
        tags=PRIORITY,
    )
    def streams_job() -> None:
        command()

    return streams_job


def _summary(operation: Operation) -> str:
    result = operation.result or {}
    if "input_rows" not in result:
        return ""
    batches = result["batches"]
    return f", {result['input_rows']:,} rows read in {batches} micro-batches" if batches else ", nothing new to read"


start_streams = _command(
    Action.START,
    "Start the streams and wait for proof: a commit, or input that is proven idle. One that runs is adopted. "
    "Resets a breaker that is open.",
)
stop_streams = _command(
    Action.STOP, "Stop the streams between two batches and wait for proof: every planned batch is committed."
)
restart_streams = _command(Action.RESTART, "Stop the streams between two batches, start them again, wait for proof.")
drain_streams = _command(
    Action.DRAIN,
    "Make the layers complete up to now, in order. A stopped stream runs until then and is stopped again; a running one is "
    "waited for.",
)
STREAM_JOBS = [start_streams, stop_streams, restart_streams, drain_streams]
