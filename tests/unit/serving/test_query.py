"""Ctrl-C while DuckDB is busy: the query ends, and the connection answers the next one."""

from __future__ import annotations

import os
import signal
from threading import Timer

import duckdb
import pytest

from rtap_assets.serving.query import interruptible

ENDLESS = "SELECT count(*) FROM range(10000000000) a, range(1000000) b WHERE hash(a.range + b.range) = 7"


def test_ctrl_c_ends_a_running_query_and_the_connection_goes_on() -> None:
    with duckdb.connect() as connection:
        timer = Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            interruptible(connection, lambda: connection.execute(ENDLESS).fetchall())
        timer.join()
        assert interruptible(connection, lambda: connection.execute("SELECT 1").fetchall()) == [(1,)]


def test_a_failure_of_the_work_is_raised_as_it_is() -> None:
    with duckdb.connect() as connection, pytest.raises(duckdb.ParserException):
        interruptible(connection, lambda: connection.execute("SELEC 1"))
