"""What Spark calls with each micro-batch, for as long as its query runs.

Spark's JVM holds on to such a function after the query is over, and with it to all that the sink has: clients with threads
and sockets, silver's index. So the function lets go of its sink then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyspark.sql import DataFrame

from rtap_assets.errors import RtapError
from rtap_assets.streaming.failures import carried

Sink = Callable[[DataFrame, int], None]

_by_checkpoint: dict[Path, BatchFunction] = {}


class BatchFunction:
    """A function for `foreachBatch`; errors of ours come back from Java as what they are."""

    def __init__(self, sink: Sink) -> None:
        self._sink: Sink | None = sink

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        assert self._sink is not None, "the query is over"
        try:
            self._sink(batch, batch_id)
        except RtapError as error:  # on its way through Java, only text survives
            raise carried(error) from error

    def release(self) -> None:
        """Let go of the sink: the query is over."""
        self._sink = None


def batch_function(checkpoint: Path, sink: Sink) -> BatchFunction:
    """Return the function of the query that is about to start on the checkpoint."""
    function = _by_checkpoint[checkpoint] = BatchFunction(sink)
    return function


def function_of(checkpoint: Path) -> BatchFunction | None:
    """Return the function of the newest query on the checkpoint; None where its stream writes in another way."""
    return _by_checkpoint.get(checkpoint)
