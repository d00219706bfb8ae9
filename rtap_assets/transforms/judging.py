"""Decoded Kafka records to bronze rows: text cleaned, amounts from their bytes, each rule of the contract applied in order.

Pure column expressions. Nearly all records conform, and a single pattern over their text proves it; only the others pay
for trimming, repairing and naming the fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache, reduce

from pyspark import SparkContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts import currencies, rules
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import BRONZE, REJUDGED_COLUMNS
from rtap_assets.transforms.amounts import amount_of
from rtap_assets.transforms.text import cleaned, first_fault, is_clean, printable

LONGEST_DETAIL = 200
# Timestamps that every reader can represent; a decoded time outside these bounds is kept in raw_value only.
EARLIEST_TIME, LATEST_TIME = "0001-01-02 00:00:00", "9999-12-30 00:00:00"
# Most records have a currency that has been in force since then and still is: their dates are not checked.
LONG_IN_FORCE = date(2020, 1, 1)
KEY = "key"
# Everything that is neither text nor computed here: times, numbers and Kafka's columns.
_COMPUTED = {*rules.TEXT_FIELDS, "error_reason", "error_detail", *REJUDGED_COLUMNS}
UNCHANGED_COLUMNS = tuple(name for name in BRONZE.column_names if name not in _COMPUTED)


def judge_sales_events(decoded: DataFrame, *, future_seconds: int, past_seconds: int) -> DataFrame:
    """Return one bronze row for each decoded record, `error_reason` and `error_detail` set where a rule is broken.

    Text is stored trimmed, with invalid characters replaced by U+FFFD; amounts and times that no reader could represent are
    null. The raw bytes are kept unchanged.

    Shape: the contract's fields without `amount`, `amount_bytes` (unscaled, two's complement, any width), `decode_reason`,
        `decode_detail` and Kafka's columns, to the columns of `contracts.tables.BRONZE`; grain: one Kafka record.
    Time: `event_time` is judged against the Kafka timestamp, which the broker sets, so a replay gives the same verdict.
    Source: docs/contract.md, "Text", "Money" and "Reason codes".
    """
    plan = _plan(decoded.sparkSession.sparkContext, future_seconds, past_seconds)
    return decoded.select(*plan.examined).select(*plan.judged).select(*plan.stored)


@dataclass(frozen=True)
class _Plan:
    """The columns of the three steps: the cleaned texts, the verdict, the stored row."""

    examined: tuple[Column, ...]
    judged: tuple[Column, ...]
    stored: tuple[Column, ...]


@lru_cache(maxsize=4)
def _plan(_context: SparkContext, future_seconds: int, past_seconds: int) -> _Plan:
    """Build the columns once per Spark context: rebuilding them would cost each micro-batch 100 ms."""
    texts = {name: F.col(name) for name in rules.TEXT_FIELDS} | {KEY: F.col("raw_key").cast("string")}
    kept = [name for name in UNCHANGED_COLUMNS if name != "amount"]
    examined = (
        *kept,
        *rules.TEXT_FIELDS,
        "decode_reason",
        "decode_detail",
        "amount_bytes",
        amount_of("amount_bytes").alias("amount"),
        F.when(_conforms(), F.lit(None)).otherwise(cleaned(texts)).alias("texts"),
    )
    judged = (
        *UNCHANGED_COLUMNS,
        *rules.TEXT_FIELDS,
        "texts",
        _verdict(future_seconds=future_seconds, past_seconds=past_seconds).alias("verdict"),
    )
    return _Plan(_columns(examined), _columns(judged), tuple(_stored(name).alias(name) for name in BRONZE.column_names))


def _columns(items: tuple[str | Column, ...]) -> tuple[Column, ...]:
    return tuple(F.col(item) if isinstance(item, str) else item for item in items)


def _conforms() -> Column:
    """Return true for a decoded record whose text, codes and key need neither trimming nor further checks."""
    conditions = (
        F.col("decode_reason").isNull(),
        is_clean(uuid="event_id", required=("account_id", "product_id"), optional=("promo_code", "sales_channel")),
        F.col("raw_key") == F.col("account_id").cast("binary"),
        F.col("event_type").isin(list(rules.EVENT_TYPES)),
        F.col("plan_tier").isin(list(rules.PLAN_TIERS)),
        F.col("region").isin(list(rules.REGIONS)),
        F.col("currency").isin(_codes_long_in_force()),
        F.col("event_time") >= F.lit(LONG_IN_FORCE).cast("timestamp"),
    )
    return reduce(Column.__and__, conditions)


def _codes_long_in_force() -> list[str]:
    return sorted(code for code in currencies.ACTIVE if currencies.IN_FORCE_SINCE.get(code, LONG_IN_FORCE) <= LONG_IN_FORCE)


def _text(name: str) -> Column:
    """Return the trimmed text of a field of a record that does not conform at once."""
    return F.col("texts")[(*rules.TEXT_FIELDS, KEY).index(name)]["text"]


def _verdict(*, future_seconds: int, past_seconds: int) -> Column:
    """Return the first rule that the record breaks, in the order of `Reason`, and its detail; null when it is valid."""
    found = _rules(future_seconds=future_seconds, past_seconds=past_seconds)
    if [*rules.DECODING_REASONS, *found] != list(Reason):
        raise AssertionError("every reason needs its condition, in the order of evaluation")
    verdict = F.when(F.col("decode_reason").isNotNull(), _finding(F.col("decode_reason"), F.col("decode_detail")))
    for reason, (condition, detail) in found.items():
        verdict = verdict.when(condition, _finding(F.lit(reason.value), detail))
    return verdict


def _finding(reason: Column, detail: Column) -> Column:
    return F.struct(reason.alias("reason"), F.coalesce(detail, F.lit("")).alias("detail"))


def _rules(*, future_seconds: int, past_seconds: int) -> dict[Reason, tuple[Column, Column]]:
    """Return each reason with its condition on a decoded record, and the detail of what broke the rule."""
    odd = F.col("texts").isNotNull()  # conforming text is not checked again
    event_later, event_earlier = _between("event_time", future_seconds=future_seconds, past_seconds=past_seconds)
    ingest_later, ingest_earlier = _between("ingest_time", future_seconds=future_seconds, past_seconds=past_seconds)
    code = F.upper(_text("currency"))
    return {
        Reason.AMOUNT_OVERFLOW: (
            F.col("amount").isNull() & F.col("amount_bytes").isNotNull(),
            F.concat(F.length("amount_bytes"), F.lit(" bytes: "), F.hex(F.substring("amount_bytes", 1, 40))),
        ),
        Reason.NULL_KEY: (F.col("raw_key").isNull(), F.lit("")),
        Reason.INVALID_TEXT: (odd & first_fault("texts").isNotNull(), first_fault("texts")),
        Reason.MISSING_FIELD: _missing(),
        Reason.KEY_MISMATCH: (
            odd & (_text(KEY) != _text("account_id")),
            F.concat(F.lit("key "), _text(KEY), F.lit(", account_id "), _text("account_id")),
        ),
        Reason.INVALID_EVENT_ID: (odd & ~_text("event_id").rlike(rf"^{rules.UUID_PATTERN}\z"), _text("event_id")),
        Reason.EVENT_TIME_IN_FUTURE: (event_later, _shown("event_time")),
        Reason.EVENT_TIME_TOO_OLD: (event_earlier, _shown("event_time")),
        Reason.IMPLAUSIBLE_INGEST_TIME: (ingest_later | ingest_earlier, _shown("ingest_time")),
        Reason.UNKNOWN_EVENT_TYPE: (odd & ~_spelled("event_type", rules.EVENT_TYPES), _text("event_type")),
        Reason.UNKNOWN_PLAN_TIER: (odd & ~_spelled("plan_tier", rules.PLAN_TIERS), _text("plan_tier")),
        Reason.UNKNOWN_REGION: (odd & ~_spelled("region", rules.REGIONS), _text("region")),
        Reason.UNKNOWN_CURRENCY: (odd & _currency_fault(code).isNotNull(), _currency_fault(code)),
        Reason.NEGATIVE_QUANTITY: (F.col("quantity") < 0, F.col("quantity").cast("string")),
        Reason.NEGATIVE_AMOUNT: (
            F.col("amount") < 0,
            F.concat_ws(" ", F.col("amount").cast("string"), F.col("currency")),
        ),
    }


def _between(time: str, *, future_seconds: int, past_seconds: int) -> tuple[Column, Column]:
    later = F.col(time) > F.col("kafka_timestamp") + F.expr(f"INTERVAL {future_seconds} SECONDS")
    earlier = F.col(time) < F.col("kafka_timestamp") - F.expr(f"INTERVAL {past_seconds} SECONDS")
    return later, earlier


def _missing() -> tuple[Column, Column]:
    """Return whether a required field is null or an id empty, and which."""
    odd = F.col("texts").isNotNull()
    others = [name for name in rules.REQUIRED_FIELDS if name not in rules.TEXT_FIELDS]
    texts = [name for name in rules.REQUIRED_FIELDS if name in rules.TEXT_FIELDS]
    conditions = {f"{name} is null": F.col(name).isNull() for name in others}
    conditions |= {f"{name} is null": odd & _text(name).isNull() for name in texts}
    conditions |= {f"{name} is empty": odd & (_text(name) == "") for name in rules.REQUIRED_TEXT_FIELDS}
    which = F.concat_ws(", ", *(F.when(condition, F.lit(fault)) for fault, condition in conditions.items()))
    return reduce(Column.__or__, conditions.values()), which


def _spelled(name: str, spellings: dict[str, str]) -> Column:
    return F.lower(_text(name)).isin(list(spellings))


def _currency_fault(code: Column) -> Column:
    """Return what is wrong with a code at the event time; null if none. See `rules.currency_fault`."""
    day = F.col("event_time").cast("date")
    since, until = _days(currencies.IN_FORCE_SINCE)[code], _days(currencies.IN_FORCE_UNTIL)[code]
    listed = code.isin(sorted(currencies.ACTIVE | currencies.IN_FORCE_UNTIL.keys()))
    return (
        F.when(~listed, code)
        .when(day > until, F.concat(code, F.lit(" withdrawn "), until.cast("string")))
        .when(day < since, F.concat(code, F.lit(" in force from "), since.cast("string")))
    )


def _days(days: dict[str, date]) -> Column:
    return F.create_map(*(F.lit(item) for pair in sorted(days.items()) for item in pair))


def _shown(time: str) -> Column:
    return F.coalesce(_in_bounds(time).cast("string"), F.lit("outside the years 1 to 9999"))


def _in_bounds(time: str) -> Column:
    bounds = (F.lit(bound).cast("timestamp") for bound in (EARLIEST_TIME, LATEST_TIME))
    return F.when(F.col(time).between(*bounds), F.col(time))


def _stored(name: str) -> Column:
    """Return the column with its stored value."""
    if name in rules.TEXT_FIELDS:
        return F.when(F.col("texts").isNull(), F.col(name)).otherwise(_text(name))
    if name in ("event_time", "ingest_time"):
        return _in_bounds(name)
    if name in REJUDGED_COLUMNS:
        return F.lit(None).cast(BRONZE.type_of(name))
    if name == "error_reason":
        return F.col("verdict.reason")
    if name == "error_detail":
        return F.when(F.col("verdict").isNotNull(), F.substring(printable(F.col("verdict.detail")), 1, LONGEST_DETAIL))
    return F.col(name)
