"""All four streams drained on generated trouble: exact against the ledger, at rest when nothing is new, and resumed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from confluent_kafka import Message
from fastavro import parse_schema, schemaless_reader
from pyspark.sql import SparkSession
from stream_fixtures import ask, drain, received, reconciled, send_events, snapshots

from rtap_assets.config import Settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import GOLD
from rtap_assets.contracts.wire import unframe
from rtap_assets.kafka.registry import Registry

TROUBLE: Mapping[str, Any] = {"events": 5_000, "duplicates": 0.05, "delayed": 0.02, "invalid": 0.03, "span_seconds": 3000}


def test_drains_reconcile_exactly_rest_when_nothing_is_new_and_go_on_where_they_stopped(
    spark: SparkSession, streams: Settings
) -> None:
    send_events(streams, seed=1, reasons=tuple(Reason), **TROUBLE)
    first = drain(spark, streams)
    assert {name: report.restarts for name, report in first.items()} == dict.fromkeys(first, ())
    assert first["bronze"].input_rows == 5_000
    assert min(report.batches for report in first.values()) >= 2
    result = reconciled(streams)
    assert result.holds, result
    assert first["silver"].dropped_late > 0
    assert first["silver"].input_rows == first["dlq"].input_rows == 5_000
    assert_dead_letters_are_the_quarantined_rows(streams)
    assert_newest_messages_are_gold(streams)

    # Nothing is new: no batch, no snapshot, no message.
    before, letters = snapshots(streams), len(received(streams, streams.topic_dlq))
    again = drain(spark, streams)
    assert {name: (report.batches, report.input_rows) for name, report in again.items()} == dict.fromkeys(again, (0, 0))
    assert snapshots(streams) == before
    assert len(received(streams, streams.topic_dlq)) == letters

    # Restarted from its checkpoint, each reads what is new and nothing else; some of it repeats the earlier run.
    send_events(streams, seed=2, **TROUBLE | {"events": 1_500})
    rest = drain(spark, streams)
    assert rest["bronze"].input_rows == rest["silver"].input_rows == rest["dlq"].input_rows == 1_500
    assert rest["gold"].input_rows == ask(streams, "SELECT count(*) FROM silver")[0][0] - first["gold"].input_rows
    result = reconciled(streams)
    assert result.holds, result
    assert_dead_letters_are_the_quarantined_rows(streams)
    assert_newest_messages_are_gold(streams)


def assert_dead_letters_are_the_quarantined_rows(settings: Settings) -> None:
    """By identity (a repeated letter is allowed), with reason, key and value as bronze has them."""
    rows = ask(
        settings,
        "SELECT topic, kafka_partition, kafka_offset, error_reason, raw_key, raw_value FROM bronze WHERE error_reason > ''",
    )
    wanted = {(row[0], str(row[1]), str(row[2])): row[3:] for row in rows}
    found = {}
    for letter in received(settings, settings.topic_dlq):
        said = {name: text.decode() for name, text in letter.headers() or () if name.startswith("rtap.dlq.")}
        identity = (said["rtap.dlq.topic"], said["rtap.dlq.partition"], said["rtap.dlq.offset"])
        found[identity] = (said["rtap.dlq.reason"], letter.key(), letter.value())
    assert found == wanted
    assert wanted


def assert_newest_messages_are_gold(settings: Settings) -> None:
    """The newest message of each key of the aggregate topic is gold's row."""
    newest = {message.key(): message for message in received(settings, settings.topic_revenue)}
    schemas = Registry(settings).versions(f"{settings.topic_revenue}-value")
    messages = [_decoded(message, schemas) for message in newest.values()]
    rows = ask(settings, f"SELECT {', '.join(GOLD.column_names)} FROM gold")
    assert sorted(messages) == sorted(tuple(_to_the_millisecond(value) for value in row) for row in rows)
    assert rows


def _decoded(message: Message, schemas: Mapping[int, str]) -> tuple[Any, ...]:
    schema_id, body = unframe(message.value() or b"")
    event: Any = schemaless_reader(io.BytesIO(body), parse_schema(json.loads(schemas[schema_id])), None)
    return tuple(event[name] for name in GOLD.column_names)


def _to_the_millisecond(value: Any) -> Any:
    if not hasattr(value, "microsecond"):
        return value
    return value - timedelta(microseconds=value.microsecond % 1000)
