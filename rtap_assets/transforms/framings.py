"""Names the framing or format of a value that cannot be decoded here: another serializer's, or not Avro."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from rtap_assets.contracts.avro import wire

SHOWN_CHARACTERS = 60


def framing() -> Column:
    """Return the name of a serializer's framing that is not decoded here, from bytes or headers; null otherwise.

    Shape: the columns that `decoding_steps` of `transforms/decoding.py` returns.
    """
    unnamed = F.col("schema_id").isNull() & F.col("other_writer").isNull()
    odd_header = F.concat(
        F.lit("the header "),
        F.col("id_header.key"),
        F.format_string(" with %d bytes, which are no id", F.length("id_header.value")),
    )
    by_bytes = F.when(F.col("id_header").isNull(), _match(_signature("raw_value"), wire.FRAMINGS))
    return F.coalesce(
        F.when(unnamed & F.col("id_header").isNotNull(), odd_header),
        F.when(unnamed & (F.size("kafka_headers") > 0), _named_by_header()),
        by_bytes,
    )


def other_format() -> Column:
    """Return the name of the format that the value has instead of Avro; null when the bytes do not show one.

    Also behind a schema id: a JSON body is never the Avro body of an event, whatever the schema.
    """
    framed = F.col("schema_id").isNotNull() | F.col("other_writer").isNotNull()
    json_name, json_pattern = next(iter(wire.OTHER_FORMATS.items()))
    behind = F.when(
        _signature("body").rlike(json_pattern) & ~F.startswith(F.col("body"), F.lit(b'"')),
        F.lit(f"{json_name} behind a schema id"),
    )
    return F.when(framed, behind).otherwise(_match(_signature("raw_value"), wire.OTHER_FORMATS))


def _signature(column: str) -> Column:
    return F.hex(F.substring(column, 1, wire.SIGNATURE_BYTES))


def _match(signature: Column, patterns: dict[str, str]) -> Column:
    name = F.lit(None).cast("string")
    for label, pattern in reversed(patterns.items()):
        name = F.when(signature.rlike(pattern), F.lit(label)).otherwise(name)
    return name


def _header_named(name: str) -> Column:
    """Return the last header of that name (key and value), as Kafka's clients look it up; null where there is none."""
    newest_first = F.reverse("kafka_headers")
    position = F.array_position(newest_first["key"], name)
    return F.when(position > 0, F.try_element_at(newest_first, position.cast("int")))


def _named_by_header() -> Column:
    """Return the framing that a header names; a content type counts only if it mentions Avro."""
    labels = []
    for key, text in wire.NAMING_HEADERS.items():
        value = _header_named(key)["value"].cast("string")
        before, with_value, after = text.partition("{value}")
        shown = F.regexp_replace(F.substring(value, 1, SHOWN_CHARACTERS), "[^ -~]", "?")
        mentions_avro = F.contains(F.lower(value), F.lit("avro")) if with_value else value.isNotNull()
        labels.append(F.when(mentions_avro, F.concat(F.lit(before), shown, F.lit(after)) if with_value else F.lit(text)))
    return F.coalesce(*labels)
