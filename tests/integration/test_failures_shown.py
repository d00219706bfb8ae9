"""Real failures under the commands: each is one sentence with the next step, never a stack trace, no claim of no loss."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import COMMAND_SECONDS, finished, run_rtap, start_rtap
from killing import java_below
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import drain, send_events

from rtap_assets.config import Settings
from rtap_assets.errors import RtapError
from rtap_assets.streaming.checkpoints.files import newest_committed
from rtap_assets.streaming.failures import as_error
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.queries.definitions import STREAMS

MOST_LINES = 12


def assert_readable(message: str) -> None:
    """One line, a sentence, no Java, no colon at its end, nothing claimed."""
    assert "\n" not in message
    assert re.search(r"[.!?]$", message), message
    assert not re.search(r"\bat (org|java|scala)\.|Traceback|:\s*$|nothing (was|is) lost", message), message
    assert len(message) < 600, message


def failure_of(spark: SparkSession, settings: Settings, name: str) -> RtapError:
    """The error that a drain of the stream ends with."""
    with pytest.raises(RtapError) as raised:
        drain_stream(spark, settings, name)
    for text in (raised.value.message, raised.value.remedy):
        assert_readable(text)
    return raised.value


def test_a_missing_table_and_a_broken_checkpoint_are_a_sentence_each(spark: SparkSession, streams: Settings) -> None:
    send_events(streams, events=300, span_seconds=600)
    drain(spark, streams)
    newest = newest_committed(STREAMS["bronze"].checkpoint(streams))
    spoilt = STREAMS["bronze"].checkpoint(streams) / "offsets" / str(newest)
    kept = spoilt.read_bytes()
    send_events(streams, events=10, span_seconds=600)
    spoilt.write_text("v1\n{not json\n", encoding="utf-8")
    assert str(spoilt) in failure_of(spark, streams, "bronze").message
    spoilt.write_bytes(kept)
    drain(spark, streams, "bronze")

    with pytest.raises(Exception) as raised:
        spark.sql(f"SELECT * FROM {streams.catalog_name}.silver.nowhere").collect()
    said = as_error(raised.value, log="spark.log")
    assert_readable(said.message)
    assert "nowhere" in said.message
    spark.sql(f"DROP TABLE {streams.catalog_name}.silver.sales_events")
    assert "silver" in failure_of(spark, streams, "silver").message


def test_a_killed_jvm_and_a_state_folder_that_cannot_be_written_are_a_sentence_each(settings: Settings) -> None:
    send_events(settings, events=20_000, span_seconds=3_600)
    small = {"bronze_max_offsets_per_batch": 500, "spark_driver_memory": "1g", "spark_quick_start": True}
    own = settings.model_copy(update=small)
    checkpoint = STREAMS["bronze"].checkpoint(own)
    process = start_rtap(own, "drain", "bronze")
    wait_until(lambda: newest_committed(checkpoint) is not None, seconds=COMMAND_SECONDS, what="a batch is committed")
    for jvm in java_below(process.pid):
        jvm.kill()
    code, output = finished(process)
    assert code == 1, output
    assert "error: The Java process has ended." in output or "failed twice" in output, output
    assert "Traceback" not in output, output
    assert len([line for line in output.splitlines() if "WARN" not in line]) < MOST_LINES, output

    impossible = own.model_copy(update={"state_dir": Path("/proc/rtap")})
    code, output = run_rtap(impossible, "drain", "bronze")
    assert code == 1, output
    assert "error: /proc/rtap" in output, output
    assert "Traceback" not in output, output
