"""Why a Kafka record is no whole event: the first rule about its form that it breaks, and what exactly broke it."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from rtap_assets.contracts.avro import wire
from rtap_assets.contracts.avro.known_writers import GLOBAL_PREFIX, GUID_PREFIX, KnownWriters, split_keys
from rtap_assets.contracts.avro.wire import HEADER_BYTES
from rtap_assets.contracts.rules import Reason
from rtap_assets.transforms.decoding import is_written_by
from rtap_assets.transforms.framings import framing, other_format

UNLISTED_WRITER = "RTAP_UNLISTED_WRITER"
DETAIL_CHARACTERS = 200


def decoding_fault(
    known: KnownWriters, *, max_event_bytes: int, settled: bool, absent: frozenset[str] = frozenset()
) -> Column:
    """Return the first rule about form that a record breaks, in the order of `Reason`: a struct of `reason` and `detail`.

    It is null for a whole event, and costs far more than decoding: compute it for the other records alone.

    Raises: unless `settled`, the batch fails with `RTAP_UNLISTED_WRITER` at a schema id of which nothing is known; look it
        up and decode the batch again, `settled`: what is not known then is `unknown_schema_id`, as the keys in `absent` are
        in any case.
    """
    finding = F.lit(None).cast("string")
    for refusal, keys in known.refusals().items():
        finding = F.when(is_written_by(keys), F.lit(refusal.finding)).otherwise(finding)
    seen = F.struct(
        framing().alias("framing"),
        other_format().alias("other_format"),
        _writer_name().alias("writer"),
        finding.alias("finding"),
    )
    unknown = _is_unknown(known, settled=settled, absent=sorted(absent))
    # The array of one names what is used more than once.
    fault = F.transform(F.array(seen), lambda one: _first_fault(one, known, unknown, max_event_bytes=max_event_bytes))
    return F.when(F.col("is_whole"), F.lit(None)).otherwise(F.get(fault, F.lit(0)))


def fault_of(reason: Reason, detail: Column) -> Column:
    """Return a broken rule as a struct of its `reason` and the `detail`, empty for none."""
    return F.struct(F.lit(reason.value).alias("reason"), F.coalesce(detail, F.lit("")).alias("detail"))


def _first_fault(seen: Column, known: KnownWriters, unknown: Column, *, max_event_bytes: int) -> Column:
    """The reason and what exactly broke the rule, in a few words, of a record that is not a whole event."""
    size, length = F.format_string("%d bytes", F.col("size")), F.length("body")
    is_guid = F.coalesce(F.col("other_writer").startswith(GUID_PREFIX), F.lit(False))
    bare = F.col("schema_id").isNull() & F.col("other_writer").isNull()
    refused = F.concat(seen["writer"], F.lit(": "), seen["finding"])
    foreign = F.concat(seen["writer"], F.lit(", which the registry in use does not know"))
    found = {
        Reason.TOMBSTONE: (F.col("raw_value").isNull(), F.lit("no value")),
        Reason.TOO_SHORT: (F.col("size") < HEADER_BYTES, size),
        Reason.OVERSIZED: (F.col("size") > max_event_bytes, size),
        Reason.BAD_MAGIC: (
            bare & seen["framing"].isNull() & seen["other_format"].isNull(),
            F.format_string("first byte 0x%s", F.hex(F.substring("raw_value", 1, 1))),
        ),
        Reason.UNSUPPORTED_FRAMING: (
            seen["framing"].isNotNull() | F.when(is_guid, unknown).otherwise(F.lit(False)),
            F.coalesce(seen["framing"], foreign),
        ),
        Reason.NOT_AVRO: (
            seen["other_format"].isNotNull() | is_written_by(known.refused_for(Reason.NOT_AVRO)),
            F.coalesce(refused, seen["other_format"]),
        ),
        Reason.UNKNOWN_SCHEMA_ID: (
            unknown,
            F.concat(seen["writer"], F.lit(": the registry knows no schema under it")),
        ),
        Reason.INCOMPATIBLE_SCHEMA: (is_written_by(known.refused_for(Reason.INCOMPATIBLE_SCHEMA)), refused),
        Reason.UNDECODABLE: (
            F.col("is_whole").isNull(),
            F.concat(F.format_string("%d bytes of body do not decode with ", length), seen["writer"]),
        ),
        Reason.TRAILING_BYTES: (
            F.lit(True),
            F.concat(F.format_string("%d bytes of body hold more than one event of ", length), seen["writer"]),
        ),
    }
    fault = F.lit(None)
    for reason, (condition, detail) in reversed(found.items()):
        fault = F.when(condition, fault_of(reason, F.substring(detail, 1, DETAIL_CHARACTERS))).otherwise(fault)
    return fault


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
    is_settled = cannot_exist | is_written_by(absent) if absent else cannot_exist
    unsettled = F.raise_error(F.concat(F.lit(f"{UNLISTED_WRITER}: "), key)).cast("boolean")
    return F.when(unlisted, F.when(is_settled, F.lit(True)).otherwise(unsettled)).otherwise(F.lit(False))


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
