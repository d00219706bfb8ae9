"""Kafka records to decoded events: framing, writer's schema, body. The values are judged afterwards.

Pure column expressions, the same for a batch and for a stream. They are built once per set of known writers and applied to
any number of batches: building them through py4j costs more than a small batch does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from rtap_assets.contracts.avro import wire
from rtap_assets.contracts.avro.known_writers import GLOBAL_PREFIX, GUID_PREFIX, KnownWriters, split_keys
from rtap_assets.contracts.avro.wire import HEADER_BYTES, MAGIC_BYTE, WIDE_HEADER_BYTES
from rtap_assets.contracts.avro.writer_schemas import END_FIELD, END_OF_EVENT, Decoding
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import EVENT_COLUMNS
from rtap_assets.transforms.framings import framing, other_format

UNLISTED_WRITER = "RTAP_UNLISTED_WRITER"
DETAIL_CHARACTERS = 200
# The amount is decoded as bytes; every other field has the type of its column.
AMOUNT, AMOUNT_BYTES = "amount", "amount_bytes"

Steps = Sequence[Sequence[Column | str]]
# What a reason for not being decoded is found from, beside the columns that are kept.
CONTEXT = ("size", "id_header", "other_writer", "body", "is_whole")


@dataclass(frozen=True)
class DecodingFault:
    """Why a record was not decoded, as columns over what `decoding_steps` returns."""

    reason: Column
    detail: Callable[[Column], Column]


def decoding_steps(known: KnownWriters, *, max_event_bytes: int) -> Steps:
    """Return the projections, one after the other, that turn Kafka records into decoded events.

    Shape: Spark's Kafka source columns with headers, to the event's fields (`amount_bytes` for the amount), the record's
        coordinates, key, value and headers, and `CONTEXT`; `is_whole` is true for a decoded event. Grain: one Kafka record.
    """
    return *_framed(), _identified(), _decoded(known, max_event_bytes), _flat()


def decoding_fault(
    known: KnownWriters, *, max_event_bytes: int, settled: bool, absent: frozenset[str] = frozenset()
) -> DecodingFault:
    """Return the first rule about form that a record breaks, in the order of `Reason`, and in a few words what broke it.

    It is null for a whole event, and costs far more than decoding: compute it for the other records alone.

    Raises: unless `settled`, the batch fails with `RTAP_UNLISTED_WRITER` at a schema id of which nothing is known; look it
        up and decode the batch again, `settled`: what is not known then is `unknown_schema_id`, as the keys in `absent` are
        in any case.
    """
    reason = _reason(known, max_event_bytes, settled=settled, absent=sorted(absent))
    return DecodingFault(reason, lambda found: F.substring(_detail(known, found), 1, DETAIL_CHARACTERS))


def apply_steps(records: DataFrame, steps: Steps) -> DataFrame:
    """Apply projections one after the other."""
    return reduce(lambda frame, step: frame.select(*step), steps, records)


def writer_keys(records: DataFrame) -> DataFrame:
    """Return the writer keys of the records with their number of occurrences: columns `writer_key`, `count`.

    The keys are those of `contracts.avro.known_writers`; records without one are left out.
    """
    keyed = apply_steps(records, (*_framed(), _identified()))
    key = F.coalesce("other_writer", F.col("schema_id").cast("string"))
    return keyed.select(key.alias("writer_key")).where("writer_key IS NOT NULL").groupBy("writer_key").count()


def _framed() -> Steps:
    """Name Kafka's columns as bronze does; add the size, and the header that carries an id (`id_header`), if any."""
    # As Kafka's clients look a header up: the last of its name. One look-up for all names keeps the compiled code small.
    places = (F.nullif(F.array_position("header_names", name), F.lit(0)) for name in wire.ID_HEADERS)
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
            F.when(F.size("headers") > 0, F.reverse("headers")).alias("newest_headers"),
        ],
        ["*", F.col("newest_headers")["key"].alias("header_names")],
        ["*", F.try_element_at("newest_headers", F.coalesce(*places).cast("int")).alias("id_header")],
    )


def _identified() -> list[Column | str]:
    """Add the schema of the record (`schema_id`, or `other_writer` as a writer key) and its `body`."""
    name, value = F.col("id_header.key"), F.col("id_header.value")
    in_header, has_magic = F.col("id_header").isNotNull(), _starts_with("raw_value", MAGIC_BYTE)
    framed = ~in_header & has_magic & (F.col("size") >= HEADER_BYTES)
    confluent, size = name == wire.CONFLUENT_ID_HEADER, F.length(value)
    eight = size == 8
    id_bytes = (
        F.when(framed, F.substring("raw_value", 2, 4))
        .when(confluent & (size == HEADER_BYTES) & _starts_with("id_header.value", 0), F.substring(value, 2, 4))
        .when((name == wire.APICURIO_CONTENT_ID_HEADER) & eight, value)
    )
    wide = framed & (F.substring("raw_value", 2, 4) == F.lit(bytes(4))) & (F.col("size") >= WIDE_HEADER_BYTES)
    global_header = name.isin(wire.APICURIO_GLOBAL_ID_HEADER, wire.OLD_APICURIO_GLOBAL_ID_HEADER)
    global_bytes = F.when(wide, F.substring("raw_value", 6, 4)).when(global_header & eight, value)
    guid_bytes = 17
    other_writer = F.when(
        confluent & (size == guid_bytes) & _starts_with("id_header.value", 1),
        F.concat(F.lit(GUID_PREFIX), F.lower(F.hex(F.expr("substring(id_header.value, 2)")))),
    ).otherwise(F.concat(F.lit(GLOBAL_PREFIX), _number(global_bytes).cast("string")))
    first_byte = F.when(in_header, 1).when(wide, WIDE_HEADER_BYTES + 1).when(framed, HEADER_BYTES + 1)
    body = F.substring("raw_value", first_byte, F.col("size"))
    return ["*", _number(id_bytes).alias("schema_id"), other_writer.alias("other_writer"), body.alias("body")]


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
        event = event.when(eligible & _is_written_by(keys), _from_avro(body, decoding))
    return ["*", event.alias("event")]


def _from_avro(body: Column, decoding: Decoding) -> Column:
    return from_avro(body, decoding.writer_text, {"mode": "PERMISSIVE", "avroSchema": decoding.reader_text})


def _is_written_by(keys: list[str]) -> Column:
    """Return true for a record of one of the writers; ids in `other_writer` never match `schema_id`."""
    ids, others = split_keys(keys)
    by_id = F.col("other_writer").isNull() & F.col("schema_id").isin(ids)
    by_other = F.col("other_writer").isin(others)
    return by_id | by_other if ids and others else by_other if others else by_id


def _reason(known: KnownWriters, max_event_bytes: int, *, settled: bool, absent: list[str]) -> Column:
    """The first rule about form that the record breaks, in the order of `Reason`; null when its event is whole."""
    unknown = _is_unknown(known, settled=settled, absent=absent)
    is_guid = F.coalesce(F.col("other_writer").startswith(GUID_PREFIX), F.lit(False))
    bare = F.col("schema_id").isNull() & F.col("other_writer").isNull()
    conditions = {
        Reason.TOMBSTONE: F.col("raw_value").isNull(),
        Reason.TOO_SHORT: F.col("size") < HEADER_BYTES,
        Reason.OVERSIZED: F.col("size") > max_event_bytes,
        Reason.BAD_MAGIC: bare & framing().isNull() & other_format().isNull(),
        Reason.UNSUPPORTED_FRAMING: framing().isNotNull() | F.when(is_guid, unknown).otherwise(F.lit(False)),
        Reason.NOT_AVRO: other_format().isNotNull() | _is_written_by(known.refused_for(Reason.NOT_AVRO)),
        Reason.UNKNOWN_SCHEMA_ID: unknown,
        Reason.INCOMPATIBLE_SCHEMA: _is_written_by(known.refused_for(Reason.INCOMPATIBLE_SCHEMA)),
        Reason.UNDECODABLE: F.col("is_whole").isNull(),
        Reason.TRAILING_BYTES: F.lit(True),
    }
    reason = F.when(F.col("is_whole"), F.lit(None))
    for code, condition in conditions.items():
        reason = reason.when(condition, F.lit(code.value))
    return reason.cast("string")


def _is_unknown(known: KnownWriters, *, settled: bool, absent: list[str]) -> Column:
    """Return true for an id that the registry lacks; unless settled, fails the batch at one that was never looked up."""
    ids, others = split_keys(list(known.verdicts))
    other = F.col("other_writer")
    unlisted = F.when(other.isNotNull(), ~other.isin(others)).otherwise(~F.col("schema_id").isin(ids))
    if settled:
        return unlisted
    key = F.coalesce("other_writer", F.col("schema_id").cast("string"))
    number = F.when(
        other.startswith(GLOBAL_PREFIX), F.expr(f"try_cast(substring(other_writer, {len(GLOBAL_PREFIX) + 1}) AS bigint)")
    )
    number = F.when(other.isNull(), F.col("schema_id")).otherwise(number)
    cannot_exist = F.coalesce((number <= 0) | (number > wire.LARGEST_REAL_ID), F.lit(False))
    is_settled = cannot_exist | _is_written_by(absent) if absent else cannot_exist
    unsettled = F.raise_error(F.concat(F.lit(f"{UNLISTED_WRITER}: "), key)).cast("boolean")
    return F.when(unlisted, F.when(is_settled, F.lit(True)).otherwise(unsettled)).otherwise(F.lit(False))


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


def _detail(known: KnownWriters, decode_reason: Column) -> Column:
    """What exactly broke the rule, in a few words."""
    size, writer = F.format_string("%d bytes", F.col("size")), _writer_name()
    finding = F.lit(None).cast("string")
    for refusal, keys in known.refusals().items():
        finding = F.when(_is_written_by(keys), F.lit(refusal.finding)).otherwise(finding)
    finding = F.concat(writer, F.lit(": "), finding)
    shown = {
        Reason.TOMBSTONE: F.lit("no value"),
        Reason.TOO_SHORT: size,
        Reason.OVERSIZED: size,
        Reason.BAD_MAGIC: F.format_string("first byte 0x%s", F.hex(F.substring("raw_value", 1, 1))),
        Reason.UNSUPPORTED_FRAMING: F.coalesce(
            framing(), F.concat(writer, F.lit(", which the registry in use does not know"))
        ),
        Reason.NOT_AVRO: F.coalesce(finding, other_format()),
        Reason.UNKNOWN_SCHEMA_ID: F.concat(writer, F.lit(": the registry knows no schema under it")),
        Reason.INCOMPATIBLE_SCHEMA: finding,
        Reason.UNDECODABLE: F.concat(F.format_string("%d bytes of body do not decode with ", F.length("body")), writer),
        Reason.TRAILING_BYTES: F.concat(
            F.format_string("%d bytes of body hold more than one event of ", F.length("body")), writer
        ),
    }
    detail = F.lit(None).cast("string")
    for reason, text in shown.items():
        detail = F.when(decode_reason == reason.value, text).otherwise(detail)
    return detail


def _writer_name() -> Column:
    """Return the writer's schema as an operator would look it up."""
    other = F.col("other_writer")
    return (
        F.when(
            other.startswith(GLOBAL_PREFIX),
            F.concat(F.lit("Apicurio global id "), F.substring(other, len(GLOBAL_PREFIX) + 1, 20)),
        )
        .when(
            other.startswith(GUID_PREFIX),
            F.concat(F.lit("Confluent schema GUID "), F.substring(other, len(GUID_PREFIX) + 1, 32)),
        )
        .otherwise(F.concat(F.lit("schema id "), F.col("schema_id").cast("string")))
    )
