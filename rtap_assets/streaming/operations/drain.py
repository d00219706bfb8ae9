"""Drain one stream in this process: the engine for the time of one command, where no stream host runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.streaming.lifecycle.engine import StreamEngine
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.queries.definitions import STREAMS

POLL_SECONDS = 0.02


def drain_stream(
    session: SparkSession, settings: Settings, name: str, *, echo: Callable[[str], None] = lambda _: None
) -> DrainReport:
    """Run one stream until it has committed everything that its source holds at the call, then stop it between batches.

    The caller owns the checkpoints.

    Raises:
        StreamError: the query failed twice, did not get there in `drain_timeout_seconds`, or its checkpoint does not belong
            to its table.
        DependencyUnavailable: broker, registry or catalog did not answer for `dependency_patience_seconds`.
    """
    engine = StreamEngine(session, settings, streams={name: STREAMS[name]}, say=echo, is_host=False)
    try:
        operation = engine.submit(name, Action.DRAIN)
        while not operation.ended:
            time.sleep(POLL_SECONDS)
            operation = engine.operation(operation.id) or operation
    finally:
        engine.close(seconds=settings.stop_timeout_seconds)
    if operation.error is not None:
        if not engine.jvm_is_alive():
            log = settings.log_dir / "spark.log"
            raise StreamError("The Java process has ended.", remedy=f"See {log} for why; then run it again.")
        error = operation.error
        kind = StreamError if error.dependency is None else DependencyUnavailable
        raise kind(error.message, remedy=error.remedy, stream=name)
    return DrainReport.from_json(operation.result or {})
