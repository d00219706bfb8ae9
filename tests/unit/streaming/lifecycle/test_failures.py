"""What is made of a failure's words: something away, a restart, a full disk, or a fault of which only the name is known."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JNetworkError

from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.streaming.failures import Diagnosis, Verdict, as_error, carried, diagnose, error_in, root_cause

KAFKA = "org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment. Call: describeTopics"
POLL = "java.util.concurrent.TimeoutException: Cannot fetch record for offset 7 in 30000 milliseconds"
CATALOG = "org.apache.iceberg.jdbc.UncheckedSQLException: Unknown failure"
BUSY = f"{CATALOG}\nCaused by: [SQLITE_BUSY] The database file is locked"
FULL = f"{CATALOG}\nCaused by: [SQLITE_FULL] database or disk is full"


def told(text: str) -> Diagnosis:
    return diagnose(RuntimeError(text), log="spark.log")


@pytest.mark.parametrize("text, dependency", [(KAFKA, "broker"), (POLL, "broker"), (BUSY, "catalog")])
def test_what_is_away_is_waited_for_and_named(text: str, dependency: str) -> None:
    found = told(text)
    assert (found.verdict, found.code, found.dependency) == (Verdict.WAIT, f"{dependency}_away", dependency)


def test_our_own_error_comes_back_from_java_as_it_was() -> None:
    away = DependencyUnavailable("It did not answer.", remedy="Start it.", dependency="registry")
    through_java = f"org.apache.spark.SparkException: failed\nTraceback …\nRuntimeError: {carried(away)}\n\tat org.apache"
    assert told(through_java) == Diagnosis(Verdict.WAIT, "registry_away", "It did not answer.", "Start it.", "registry")
    refused = error_in(RuntimeError(f"x {carried(StreamError('Replaced: {}.', remedy='Put it back.'))} y"))
    assert (type(refused), str(refused)) == (StreamError, "Replaced: {}. Put it back.")
    assert error_in(RuntimeError("boom")) is None


def test_our_own_error_of_a_dependency_is_waited_for_in_its_own_words() -> None:
    found = diagnose(DependencyUnavailable("It did not answer.", remedy="Start it.", dependency="kafka"), log="spark.log")
    assert found == Diagnosis(Verdict.WAIT, "broker_away", "It did not answer.", "Start it.", "broker")


@pytest.mark.parametrize(
    "text, line",
    [
        ("java.io.IOException: No space left on device", "java.io.IOException: No space left on device"),
        (f"Job aborted.\n{KAFKA}\n  [Errno 28] No space left on device", "[Errno 28] No space left on device"),
        (FULL, "Caused by: [SQLITE_FULL] database or disk is full"),
        ("java.io.IOException: Disk quota exceeded", "java.io.IOException: Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_called_that_and_never_something_away(text: str, line: str) -> None:
    found = told(text)
    assert (found.verdict, found.code, found.reason, found.dependency) == (Verdict.FAULT, "disk_full", line, None)
    assert "rtap streams start" in found.remedy


def test_any_other_fault_has_the_name_of_its_innermost_exception() -> None:
    found = told("org.apache.spark.SparkException: Job aborted.\nCaused by: java.lang.OutOfMemoryError: Java heap space")
    assert (found.verdict, found.code) == (Verdict.FAULT, "OutOfMemoryError")
    assert found.reason == "OutOfMemoryError: Java heap space"
    assert "spark.log" in found.remedy


def test_a_failed_call_into_java_is_told_by_its_cause() -> None:
    called = "An error occurred while calling o88.sql."
    assert told(f"{called}\n: org.apache.spark.SparkException: No plan\n\tat org.apache").reason == (
        "SparkException: No plan"
    )
    assert told(called).reason == called


TOO_DEEP = "Found recursive reference in Avro schema, which can not be processed by Spark:"
RECURSIVE = f"""[STREAM_FAILED] Query [id = 1, runId = 2] terminated with exception: Job aborted. SQLSTATE: XXKST
=== Streaming Query ===
org.apache.spark.SparkException: Job aborted.
\tat org.apache.spark.sql.execution(Foo.scala:1)
Caused by: org.apache.spark.sql.avro.IncompatibleSchemaException: {TOO_DEEP}
{{
  "type" : "record"
\tat org.apache.spark.sql.avro.SchemaConverters(Bar.scala:2)"""


@pytest.mark.parametrize(
    "text, sentence",
    [
        (RECURSIVE, "IncompatibleSchemaException: Found recursive reference in Avro schema, which can not be processed by "
         'Spark: {'),
        ("An error occurred while calling o1.start.\n: java.lang.NullPointerException\n\tat a.b.C", "NullPointerException"),
        ("terminated with exception:\njava.io.IOException: Permission denied", "terminated with exception: IOException: "
         "Permission denied"),
        ("Caused by: java.lang.StackOverflowError: null:", "StackOverflowError: null"),
        ("", "an error without a message"),
    ],
    ids=["a plan", "no message", "a colon at the end", "a colon and nothing", "nothing"],
)  # fmt: skip
def test_three_hundred_lines_of_java_are_one_sentence_that_does_not_end_with_a_colon(text: str, sentence: str) -> None:
    assert root_cause(text) == sentence
    assert "\n" not in sentence
    assert not sentence.endswith(":")


def test_the_end_of_the_java_process_is_called_that() -> None:
    assert told_of(Py4JNetworkError("Answer from Java side is empty")).code == "jvm_gone"
    assert told_of(ConnectionRefusedError(111, "Connection refused")).code == "jvm_gone"


def told_of(error: BaseException) -> Diagnosis:
    return diagnose(error, log="spark.log")


def test_a_failure_as_an_error_has_one_sentence_and_the_next_step() -> None:
    error = as_error(RuntimeError(RECURSIVE), log="spark.log")
    assert type(error) is StreamError
    assert "spark.log" in error.remedy
    assert "lost" not in error.remedy
    away = as_error(RuntimeError(KAFKA), log="spark.log")
    assert (type(away), away.message) == (DependencyUnavailable, "the broker does not answer.")
