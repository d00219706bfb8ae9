"""The audit on the real broker, beside running streams: green with other producers and records in flight."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import duckdb
from click.testing import CliRunner
from confluent_kafka import Producer, TopicPartition
from event_bytes import ACCOUNT, body, event, framed
from pyspark.sql import SparkSession
from stream_fixtures import drain, running, send_events
from transactional import wait_until_ended

from rtap_assets.audit.audit import audit
from rtap_assets.audit.report import HOLDS, NOTHING_TO_COMPARE, Report
from rtap_assets.audit.state import plan_state
from rtap_assets.commands.reconcile import reconcile
from rtap_assets.config import Settings, get_settings, settings_environment
from rtap_assets.kafka.clients import Admin, client_config
from rtap_assets.registry.client import Registry
from rtap_assets.serving.lake_files import plan_lake


def reconciled(settings: Settings) -> tuple[int, str]:
    """Exit code and output of `rtap reconcile`."""
    get_settings.cache_clear()
    try:
        result = CliRunner().invoke(reconcile, env=settings_environment(settings))
    finally:
        get_settings.cache_clear()
    return result.exit_code, result.output


def describe(report: Report) -> str:
    """What of a report does not hold, for the message of an assertion."""
    return f"{sorted(report.broken)} {report.damage} {report.incomplete}"


def produce(settings: Settings, count: int, **options: str) -> Producer:
    """`count` good records of a producer that is not the generator; returns it, so that a transaction can be ended."""
    schema_id = next(
        id for id, text in Registry(settings).versions(settings.events_subject).items() if "promo_code" not in text
    )
    producer = Producer(client_config(settings) | {"acks": "all", **options})
    if "transactional.id" in options:
        producer.init_transactions(30)
        producer.begin_transaction()
    for _ in range(count):
        value = framed(schema_id, body(event(datetime.now(UTC), event_id=str(uuid4()))))
        producer.produce(settings.topic_events, value, ACCOUNT)
    producer.flush(30)
    return producer


@contextmanager
def producing(settings: Settings) -> Iterator[None]:
    """A second producer that goes on sending a few records a second for the time of the block."""
    enough = Event()

    def go_on() -> None:
        while not enough.wait(0.2):
            produce(settings, 5)

    thread = Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_a_living_system_with_other_producers_is_green_and_a_changed_row_is_named(
    spark: SparkSession, streams: Settings, tmp_path: Path
) -> None:
    code, output = reconciled(streams)
    assert (code, "Nothing to compare" in output) == (NOTHING_TO_COMPARE, True), output

    send_events(streams, events=4_000, span_seconds=3600, invalid=0.02, delayed=0.02)
    produce(streams, 20, **{"transactional.id": f"audit-{uuid4().hex}"}).commit_transaction(30)
    wait_until_ended(streams)
    drain(spark, streams)
    report = audit(streams)
    assert report.exit_code == HOLDS, describe(report)
    assert report.apart("other producers") == 20
    assert report.apart("offsets without a record") == 1, "the marker of the transaction"

    Admin(streams).client.delete_records([TopicPartition(streams.topic_events, 0, 100)])[
        TopicPartition(streams.topic_events, 0)
    ].result(30)
    report = audit(streams)
    assert report.exit_code == HOLDS, describe(report)
    assert report.apart("no longer in the topic") == 100, "judged from bronze's own bytes"

    with running(spark, streams), producing(streams):
        for _ in range(3):
            report = audit(streams)
            assert report.exit_code == HOLDS, describe(report)
    drain(spark, streams)

    path = Path(plan_lake(streams)["silver"].paths[0])
    kept = Path(shutil.copy2(path, tmp_path / "kept.parquet"))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE VIEW original AS FROM read_parquet('{kept}', hive_partitioning = false)")
        place = connection.execute(
            "SELECT kafka_partition, min(kafka_offset) FROM original GROUP BY ALL LIMIT 1"
        ).fetchall()[0]
        cent = f"net_amount + if((kafka_partition, kafka_offset) = {place}, 0.01, 0)"
        connection.execute(f"COPY (SELECT * REPLACE ({cent} AS net_amount) FROM original) TO '{path}' (FORMAT parquet)")
    code, output = reconciled(streams)
    shutil.copy2(kept, path)
    assert code == 1, output
    assert f"kafka_partition {place[0]}, kafka_offset {place[1]}, " in output
    assert "✗ values of silver: equal" in output
    assert reconciled(streams)[0] == HOLDS
    assert plan_state(streams).silver.is_known


def test_a_silver_that_was_emptied_and_a_broker_that_is_away_are_no_success(spark: SparkSession, streams: Settings) -> None:
    send_events(streams, events=1_500, span_seconds=3600)
    drain(spark, streams)
    spark.sql(f"DELETE FROM {streams.catalog_name}.silver.sales_events")
    code, output = reconciled(streams)
    assert code == 1, output
    assert "lost_before_silver: " in output
    assert " of them shown" in output
    away = streams.model_copy(update={"kafka_bootstrap": "127.0.0.1:9", "request_timeout_seconds": 1.0})
    code, output = reconciled(away)
    assert code == 3, output
    assert "error: The Kafka broker at 127.0.0.1:9" in output
    assert "Traceback" not in output
