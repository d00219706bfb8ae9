"""A schema version that is registered between two runs or while streams run is decoded; an id without a schema is not."""

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
V5 = with_field(V4, "store_id", "string")
NEW_FIELDS = {"promo_code": "SPRING", "sales_channel": None, "campaign_id": 7, "partner_id": "p-1", "store_id": "s-1"}


def written_with(settings: Settings, schema: str, number: int) -> Record:
    """An event of a producer that registers its schema and writes at once."""
    schema_id = Registry(settings).register(settings.events_subject, schema)
    names = {child["name"] for child in json.loads(schema)["fields"]}
    known = {name: value for name, value in NEW_FIELDS.items() if name in names}
    return Record(framed(schema_id, body(event(datetime.now(UTC), event_id=event_id(number), **known), schema)))


def test_versions_registered_between_runs_and_while_the_streams_run_are_decoded_without_a_restart(
    spark: SparkSession, streams: Settings
) -> None:
    fast = {f"trigger_{name}_seconds": 0.2 for name in ("bronze", "dlq", "silver", "gold")}
    settings = streams.model_copy(update=fast)
    nobodys = Record(framed(2**31, body(event(datetime.now(UTC), event_id=event_id(9)))))
    send(settings, [written_with(settings, V2, 1), nobodys])
    drain(spark, settings, "bronze")
    send(settings, [written_with(settings, V3, 2), nobodys])
    with running(spark, settings) as said:
        for number, schema in ((2, None), (3, V4), (4, V5)):
            if schema is not None:
                send(settings, [written_with(settings, schema, number), nobodys])
            wait_until(
                lambda seen=number: table_state(settings, SILVER).rows == seen,
                seconds=90,
                what=lambda number=number: f"event {number} in silver; {said}",
            )
    assert ask(settings, "SELECT event_id, promo_code, error_reason FROM bronze WHERE error_reason IS NULL ORDER BY 1") == [
        (event_id(number), "SPRING", None) for number in (1, 2, 3, 4)
    ]
    assert ask(settings, "SELECT error_reason, count(*) FROM bronze GROUP BY 1 ORDER BY 1") == [
        ("unknown_schema_id", 4),
        (None, 4),
    ]
    drain(spark, settings, "dlq", "gold")
    assert {letter.value() for letter in received(settings, settings.topic_dlq)} == {nobodys.value}
    assert ask(settings, "SELECT sum(orders) FROM gold WHERE epoch_us(window_start) % 300000000 = 0") == [(4,)]
    assert sum(line.startswith("bronze: started") for line in said) == 1
    assert not any("starting again" in line for line in said)
