"""Kafka records to decoded events: framing, writer's schema, body. The values are judged afterwards.

Pure column expressions, the same for a batch and for a stream, built once per set of known writers.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from rtap_assets.contracts.avro import wire
from rtap_assets.contracts.avro.known_writers import GLOBAL_PREFIX, GUID_PREFIX, KnownWriters, split_keys
from rtap_assets.contracts.avro.wire import HEADER_BYTES, MAGIC_BYTE, WIDE_HEADER_BYTES
from rtap_assets.contracts.avro.writer_schemas import END_FIELD, END_OF_EVENT, Decoding
from rtap_assets.contracts.tables import EVENT_COLUMNS
from rtap_assets.transforms.interpreted import Interpreted
from rtap_assets.transforms.projections import Steps, apply_steps

# The amount is decoded as bytes; every other field has the type of its column.
AMOUNT, AMOUNT_BYTES = "amount", "amount_bytes"

# What `decoding_faults` looks at, beside the columns that are kept.
CONTEXT = ("size", "id_header", "other_writer", "body", "is_whole")


def decoding_steps(known: KnownWriters, *, max_event_bytes: int) -> Steps:
    """Return the projections, one after the other, that turn Kafka records into decoded events.

    Shape: Spark's Kafka source columns with headers, to the event's fields (`amount_bytes` for the amount), the record's
        coordinates, key, value and headers, and `CONTEXT`; `is_whole` is true for a decoded event. Grain: one Kafka record.
    """
    return *_framed(), *_identified(), _decoded(known, max_event_bytes), _flat()


def writer_keys(records: DataFrame) -> DataFrame:
    """Return the writer keys of the records with their number of occurrences: columns `writer_key`, `count`.

    The keys are those of `contracts.avro.known_writers`; records without one are left out.
    """
    keyed = apply_steps(records, (*_framed(), *_identified()))
    key = F.coalesce("other_writer", F.col("schema_id").cast("string"))
    return keyed.select(key.alias("writer_key")).where("writer_key IS NOT NULL").groupBy("writer_key").count()


def _framed() -> Steps:
    """Name Kafka's columns as bronze does; add the size, and the header that carries an id (`id_header`), if any.

    `is_framed` is true for the framing that nearly all serializers write: a zero byte, four bytes of an id, the body.
    """
    framed = _starts_with("raw_value", MAGIC_BYTE) & (F.col("size") >= HEADER_BYTES) & (_framed_id() != F.lit(bytes(4)))
    return (
        [
            "topic",
            F.col("partition").alias("kafka_partition"),
            F.col("offset").alias("kafka_offset"),
            F.col("timestamp").alias("kafka_timestamp"),
            F.col("key").alias("raw_key"),
            F.col("value").alias("raw_value"),
            F.col("headers").alias("kafka_headers"),
            F.length("value").alias("size"),
        ],
        ["*", Interpreted("id_header", F.size("kafka_headers") > 0, _id_header())],
        ["*", F.coalesce(F.col("id_header").isNull() & framed, F.lit(False)).alias("is_framed")],
    )


def _id_header() -> Column:
    """As Kafka's clients look a header up: the last of its name. The array of one names it without computing it twice."""

    def found(newest: Column) -> Column:
        places = (F.nullif(F.array_position(newest["key"], name), F.lit(0)) for name in wire.ID_HEADERS)
        return F.try_element_at(newest, F.coalesce(*places).cast("int"))

    return F.get(F.transform(F.array(F.reverse("kafka_headers")), found), F.lit(0))


def _identified() -> Steps:
    """Add the schema of the record (`schema_id`, or `other_writer` as a writer key) and its `body`."""
    body = F.substring("raw_value", HEADER_BYTES + 1, F.col("size"))
    odd = F.col("oddly_identified")
    return (
        ["*", Interpreted("oddly_identified", ~F.col("is_framed"), _oddly_identified())],
        [
            *("topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "raw_key", "raw_value", "kafka_headers"),
            *("size", "id_header"),
            F.when(F.col("is_framed"), _number(_framed_id())).otherwise(odd["schema_id"]).alias("schema_id"),
            odd["other_writer"].alias("other_writer"),
            F.when(F.col("is_framed"), body).otherwise(odd["body"]).alias("body"),
        ],
    )


def _oddly_identified() -> Column:
    """Return the schema and the body of a record with its id in a header, with a wider id, or without one."""
    name, value = F.col("id_header.key"), F.col("id_header.value")
    in_header, has_magic = F.col("id_header").isNotNull(), _starts_with("raw_value", MAGIC_BYTE)
    framed = ~in_header & has_magic & (F.col("size") >= HEADER_BYTES)
    confluent, size = name == wire.CONFLUENT_ID_HEADER, F.length(value)
    eight = size == 8
    id_bytes = (
        F.when(framed, _framed_id())
        .when(confluent & (size == HEADER_BYTES) & _starts_with("id_header.value", 0), F.substring(value, 2, 4))
        .when((name == wire.APICURIO_CONTENT_ID_HEADER) & eight, value)
    )
    wide = framed & (_framed_id() == F.lit(bytes(4))) & (F.col("size") >= WIDE_HEADER_BYTES)
    global_header = name.isin(wire.APICURIO_GLOBAL_ID_HEADER, wire.OLD_APICURIO_GLOBAL_ID_HEADER)
    global_bytes = F.when(wide, F.substring("raw_value", 6, 4)).when(global_header & eight, value)
    guid_bytes = 17
    other_writer = F.when(
        confluent & (size == guid_bytes) & _starts_with("id_header.value", 1),
        F.concat(F.lit(GUID_PREFIX), F.lower(F.hex(F.expr("substring(id_header.value, 2)")))),
    ).otherwise(F.concat(F.lit(GLOBAL_PREFIX), _number(global_bytes).cast("string")))
    first_byte = F.when(in_header, 1).when(wide, WIDE_HEADER_BYTES + 1).when(framed, HEADER_BYTES + 1)
    body = F.substring("raw_value", first_byte, F.col("size"))
    return F.struct(_number(id_bytes).alias("schema_id"), other_writer.alias("other_writer"), body.alias("body"))


def _framed_id() -> Column:
    return F.substring("raw_value", 2, 4)


def _starts_with(column: str, byte: int) -> Column:
    return F.substring(column, 1, 1) == F.lit(bytes([byte]))


def _number(big_endian: Column) -> Column:
    """Return big-endian bytes as an unsigned number; null beyond a signed long, which is never an id."""
    return F.conv(F.hex(big_endian), 16, 10).try_cast("bigint")


def _decoded(known: KnownWriters, max_event_bytes: int) -> list[Column | str]:
    eligible = F.col("size") <= max_event_bytes
    body = F.concat("body", F.lit(END_OF_EVENT))
    # The branch that is never taken gives the column its type when no writer is decoded.
    event = F.when(F.lit(False), _from_avro(body, known.contract))
    for decoding, keys in known.decoders().items():
        event = event.when(eligible & is_written_by(keys), _from_avro(body, decoding))
    return ["*", event.alias("event")]


def _from_avro(body: Column, decoding: Decoding) -> Column:
    return from_avro(body, decoding.writer_text, {"mode": "PERMISSIVE", "avroSchema": decoding.reader_text})


def is_written_by(keys: list[str]) -> Column:
    """Return true for a record of one of the writers; ids in `other_writer` never match `schema_id`."""
    ids, others = split_keys(keys)
    by_id = F.col("other_writer").isNull() & F.col("schema_id").isin(ids)
    by_other = F.col("other_writer").isin(others)
    return by_id | by_other if ids and others else by_other if others else by_id


def _flat() -> list[Column | str]:
    fields = [
        F.col(f"event.{column.name}").cast(column.type).alias(column.name)
        for column in EVENT_COLUMNS
        if column.name != AMOUNT
    ]
    return [
        *fields,
        F.col(f"event.{AMOUNT}").alias(AMOUNT_BYTES),
        (F.col(f"event.{END_FIELD}") == F.lit(END_OF_EVENT)).alias("is_whole"),
        *("topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "schema_id"),
        *("raw_key", "raw_value", "kafka_headers", "size", "id_header", "other_writer", "body"),
    ]
