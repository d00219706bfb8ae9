"""Ctrl-C during a query. DuckDB runs a query in one long call, in which Python would not notice the signal."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from typing import TypeVar

import duckdb

Result = TypeVar("Result")
LOOK_SECONDS = 0.2


def interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], Result]) -> Result:
    """Return what `work` returns; it runs in a thread of its own, and Ctrl-C interrupts the connection's query.

    Raises:
        KeyboardInterrupt: after the query has ended.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="query") as worker:
        running = worker.submit(work)
        try:
            while True:
                try:
                    return running.result(LOOK_SECONDS)
                except StillRunning:
                    if running.done():  # the work itself has raised a TimeoutError
                        raise
        except KeyboardInterrupt:
            connection.interrupt()
            raise
