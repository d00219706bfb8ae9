"""Kafka records to bronze rows: decoded with the writer's schema, then judged (`judging.py`), raw bytes kept.

Pure column work on a DataFrame, the same as a batch and as a stream; every Kafka record becomes exactly one row.
"""

from __future__ import annotations

import json
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro, to_avro

from rtap_assets.contracts.registered import RegisteredWriters
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import EVENT_COLUMNS
from rtap_assets.contracts.wire import HEADER_BYTES, MAGIC_BYTE
from rtap_assets.transforms.judging import judge_sales_events

UNLISTED_SCHEMA_ID = "RTAP_UNLISTED_SCHEMA_ID"


def decode_sales_events(
    records: DataFrame,
    *,
    writers: RegisteredWriters,
    max_event_bytes: int,
    future_seconds: int,
    past_seconds: int,
    topic_epoch: int = 0,
) -> DataFrame:
    """Return one bronze row for each Kafka record, `error_reason` set where a rule of the contract is broken.

    Shape: Spark's Kafka source columns with headers, to the columns of `contracts.tables.BRONZE`; grain: one Kafka record.
    Time: `event_time` is judged against the Kafka timestamp, which the broker sets, so a replay judges alike.
    Raises: the batch fails with `RTAP_UNLISTED_SCHEMA_ID` at a schema id that may have been registered after
        `writers.known_until`; list the registry again and restart on the same checkpoint.
    Source: architecture overview, section 5; design, decisions 3, 5 and 8.
    """
    framed = records.select(
        "*",
        F.length("value").alias("size"),
        F.when(
            (F.length("value") >= HEADER_BYTES) & (F.substring("value", 1, 1) == F.lit(bytes([MAGIC_BYTE]))),
            F.conv(F.hex(F.substring("value", 2, 4)), 16, 10).cast("bigint"),
        ).alias("schema_id"),
        F.expr(f"substring(value, {HEADER_BYTES + 1})").alias("body"),
    )
    decodable = F.col("size") <= max_event_bytes
    decoded = framed.select(
        "*",
        *(
            F.when((F.col("schema_id") == schema_id) & decodable, _from_avro(text)).alias(_decoded(schema_id))
            for schema_id, text in writers.accepted.items()
        ),
    )
    encoded = decoded.select("*", _encoded_again(writers).alias("encoded_again"))
    flat = encoded.select(
        *(_event_column(name, type_, writers).alias(name) for name, type_ in _event_fields()),
        "topic",
        F.lit(topic_epoch).alias("topic_epoch"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("timestamp").alias("kafka_timestamp"),
        "schema_id",
        "size",
        "body",
        "encoded_again",
        F.col("key").alias("raw_key"),
        F.col("value").alias("raw_value"),
        F.col("headers").alias("kafka_headers"),
    )
    reason, detail = _reason(writers, max_event_bytes=max_event_bytes), _detail()
    found = flat.select("*", reason.alias("decode_reason")).select("*", detail.alias("decode_detail"))
    return judge_sales_events(found, future_seconds=future_seconds, past_seconds=past_seconds)


def _event_fields() -> list[tuple[str, str]]:
    return [
        ("amount_bytes", "binary") if column.name == "amount" else (column.name, column.type) for column in EVENT_COLUMNS
    ]


def _decoded(schema_id: int) -> str:
    return f"decoded_{schema_id}"


def _from_avro(schema: str) -> Column:
    return from_avro(F.col("body"), _amount_as_bytes(schema), {"mode": "PERMISSIVE"})


def _amount_as_bytes(schema: str) -> str:
    """The schema with the amount as its bytes: of more than 64 bits Spark's decimal would take the lowest."""
    changed = json.loads(schema)
    for field in changed["fields"]:
        if field["name"] == "amount":
            field["type"] = "bytes"
    return json.dumps(changed)


def _field_names(schema: str) -> set[str]:
    return {field["name"] for field in json.loads(schema)["fields"]}


def _event_column(name: str, type_: str, writers: RegisteredWriters) -> Column:
    """The field from whichever writer schema decoded the record; null where that schema lacks it."""
    found = [
        F.col(f"{_decoded(schema_id)}.{name.removesuffix('_bytes')}")
        for schema_id, text in writers.accepted.items()
        if name.removesuffix("_bytes") in _field_names(text)
    ]
    return F.coalesce(*found, F.lit(None)).cast(type_)


def _encoded_again(writers: RegisteredWriters) -> Column:
    """The decoded event written again with its own schema, to find bytes behind its end."""
    result = F.lit(None).cast("binary")
    for schema_id, text in writers.accepted.items():
        struct = F.col(_decoded(schema_id))
        result = F.when(struct["event_id"].isNotNull(), to_avro(struct, _amount_as_bytes(text))).otherwise(result)
    return result


def _unknown_schema_id(writers: RegisteredWriters) -> Column:
    """True for an id that is certainly not registered; fails the batch where it may have been since the listing."""
    known = [*writers.accepted, *writers.refused]
    unlisted = ~F.col("schema_id").isin(known) if known else F.lit(True)
    settled = (F.col("kafka_timestamp") <= F.lit(_literal(writers.known_until)).cast("timestamp")) | (
        F.col("schema_id") > writers.newest_plausible_id
    )
    unsettled = F.raise_error(F.concat(F.lit(f"{UNLISTED_SCHEMA_ID}: "), F.col("schema_id").cast("string")))
    return F.when(unlisted, F.when(settled, F.lit(True)).otherwise(unsettled.cast("boolean"))).otherwise(F.lit(False))


def _literal(time: datetime) -> str:
    return time.isoformat(sep=" ")


def _reason(writers: RegisteredWriters, *, max_event_bytes: int) -> Column:
    """Why the record cannot be decoded, in the order of `Reason`; null when it was."""
    again = F.col("encoded_again")
    conditions: dict[Reason, Column] = {
        Reason.TOMBSTONE: F.col("raw_value").isNull(),
        Reason.TOO_SHORT: F.col("size") < HEADER_BYTES,
        Reason.OVERSIZED: F.col("size") > max_event_bytes,
        Reason.BAD_MAGIC: F.col("schema_id").isNull(),
        Reason.UNKNOWN_SCHEMA_ID: _unknown_schema_id(writers),
        Reason.INCOMPATIBLE_SCHEMA: F.col("schema_id").isin(list(writers.refused)) if writers.refused else F.lit(False),
        Reason.UNDECODABLE: F.col("event_id").isNull(),
        # Only a proper prefix: a text that is no UTF-8 may be written again with other bytes.
        Reason.TRAILING_BYTES: (F.length(again) < F.length("body")) & F.startswith(F.col("body"), again),
    }
    verdict = F.when(F.lit(False), F.lit(""))
    for reason, condition in conditions.items():
        verdict = verdict.when(condition, F.lit(reason.value))
    return verdict


def _detail() -> Column:
    """What exactly was found."""
    reason = F.col("decode_reason")
    size = F.format_string("%d bytes", F.length("raw_value"))
    schema = F.format_string("schema id %d", F.col("schema_id"))
    return (
        F.when(reason == Reason.BAD_MAGIC.value, F.format_string("first byte 0x%s", F.hex(F.substring("raw_value", 1, 1))))
        .when(reason.isin(Reason.UNKNOWN_SCHEMA_ID.value, Reason.INCOMPATIBLE_SCHEMA.value), schema)
        .when(reason.isNotNull(), size)
    )
