"""The function of a query: what its sink holds ends with the query, though Spark's JVM keeps the function."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.streaming.batch_functions import batch_function, function_of
from rtap_assets.streaming.failures import error_in
from rtap_assets.streaming.queries.definitions import SILVER_STREAM
from rtap_assets.streaming.queries.query_handle import SparkQuery


class Sink:
    """A sink that holds something; the next batch fails with `error`."""

    error: Exception | None = None

    def write(self, batch: Any, batch_id: int) -> None:
        if self.error is not None:
            raise self.error


class EndedQuery:
    """A query of Spark that has ended, or ends when it is stopped."""

    def __init__(self, *, active: bool) -> None:
        self.isActive, self.status, self._jsq = (
            active,
            {"isTriggerActive": False},
            SimpleNamespace(lastProgress=lambda: None),
        )

    def exception(self) -> None:
        return None

    def stop(self) -> None:
        self.isActive = False


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, state_dir=tmp_path / ".rtap")


@pytest.mark.parametrize("how", ["stopped", "failed"])
def test_a_sink_is_let_go_of_once_its_query_is_over(settings: Settings, how: str) -> None:
    sink = Sink()
    function, held = batch_function(SILVER_STREAM.checkpoint(settings), sink.write), weakref.ref(sink)
    query = EndedQuery(active=how == "stopped")
    handle = SparkQuery(cast(Any, query), settings, SILVER_STREAM, committed=None)
    del sink
    if how == "stopped":
        handle.look(datetime.now(UTC))
        function(cast(Any, None), 0)  # it runs
        handle.stop(seconds=1)
    else:
        handle.look(datetime.now(UTC))
    gc.collect()
    assert held() is None
    with pytest.raises(AssertionError, match="the query is over"):
        function(cast(Any, None), 1)


def test_a_query_that_ended_late_does_not_take_the_sink_of_the_next(settings: Settings) -> None:
    checkpoint = SILVER_STREAM.checkpoint(settings)
    batch_function(checkpoint, Sink().write)
    ended = SparkQuery(cast(Any, EndedQuery(active=False)), settings, SILVER_STREAM, committed=None)
    following = batch_function(checkpoint, Sink().write)
    ended.look(datetime.now(UTC))
    following(cast(Any, None), 0)
    assert function_of(checkpoint) is following


def test_an_error_of_ours_keeps_its_type_on_its_way_through_java(tmp_path: Path) -> None:
    sink = Sink()
    sink.error = DependencyUnavailable("The broker is away.", dependency="kafka")
    with pytest.raises(RuntimeError) as raised:
        batch_function(tmp_path, sink.write)(cast(Any, None), 0)
    found = error_in(RuntimeError(f"org.apache.spark.SparkException: {raised.value}"))
    assert isinstance(found, DependencyUnavailable)
    sink.error = ValueError("as it is")
    with pytest.raises(ValueError, match="as it is"):
        batch_function(tmp_path, sink.write)(cast(Any, None), 0)
