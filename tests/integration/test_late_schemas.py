"""A schema version that is registered after the streams were started is decoded; an id that nobody registered is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from event_bytes import V2, Record, body, event, event_id, framed, with_field
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import ask, drain, received, running, send

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import SILVER
from rtap_assets.lake.history.snapshots import table_state
from rtap_assets.registry.client import Registry

V3 = with_field(V2, "campaign_id", "long")
V4 = with_field(V3, "partner_id", "string")
NEW_FIELDS = {"promo_code": "SPRING", "sales_channel": None, "campaign_id": 7, "partner_id": "p-1"}


def written_with(settings: Settings, schema: str, number: int) -> Record:
    """An event of a producer that registers its schema and writes at once."""
    schema_id = Registry(settings).register(settings.events_subject, schema)
    names = {child["name"] for child in json.loads(schema)["fields"]}
    known = {name: value for name, value in NEW_FIELDS.items() if name in names}
    return Record(framed(schema_id, body(event(datetime.now(UTC), event_id=event_id(number), **known), schema)))


def test_a_version_registered_between_two_drains_is_decoded(spark: SparkSession, streams: Settings) -> None:
    send(streams, [written_with(streams, V2, 1)])
    drain(spark, streams, "bronze")
    send(streams, [written_with(streams, V3, 2)])
    drain(spark, streams, "bronze")
    assert ask(streams, "SELECT event_id, promo_code, error_reason FROM bronze ORDER BY 1") == [
        (event_id(1), "SPRING", None),
        (event_id(2), "SPRING", None),
    ]


def test_versions_registered_while_the_streams_run_are_decoded_without_a_restart(
    spark: SparkSession, streams: Settings
) -> None:
    fast = {f"trigger_{name}_seconds": 0.2 for name in ("bronze", "dlq", "silver", "gold")}
    settings = streams.model_copy(update=fast)
    nobodys = Record(framed(2**31, body(event(datetime.now(UTC), event_id=event_id(9)))))
    with running(spark, settings) as said:
        for number, schema in enumerate((V2, V3, V4), start=1):
            send(settings, [written_with(settings, schema, number), nobodys])
            wait_until(
                lambda seen=number: table_state(settings, SILVER).rows == seen,
                seconds=90,
                what=lambda number=number: f"event {number} in silver; {said}",
            )
    assert ask(settings, "SELECT event_id, promo_code, error_reason FROM bronze WHERE error_reason IS NULL ORDER BY 1") == [
        (event_id(number), "SPRING", None) for number in (1, 2, 3)
    ]
    assert ask(settings, "SELECT error_reason, count(*) FROM bronze GROUP BY 1 ORDER BY 1") == [
        ("unknown_schema_id", 3),
        (None, 3),
    ]
    drain(spark, settings, "dlq", "gold")
    assert {letter.value() for letter in received(settings, settings.topic_dlq)} == {nobodys.value}
    assert ask(settings, "SELECT sum(orders) FROM gold WHERE epoch_us(window_start) % 300000000 = 0") == [(3,)]
    assert sum(line.startswith("bronze: started") for line in said) == 1
    assert not any("starting again" in line for line in said)
