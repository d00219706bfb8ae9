"""Decoded Kafka records to bronze rows: text cleaned, amounts from their bytes, each rule of the contract applied in order.

Pure column expressions. Nearly all records conform, and a single pattern over their text proves it; only the others pay
for trimming, repairing and naming the fault.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial, reduce

from pyspark.sql import Column
from pyspark.sql import functions as F

from rtap_assets.contracts import currencies, rules
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import BRONZE, REJUDGED_COLUMNS
from rtap_assets.transforms.amounts import amount_of
from rtap_assets.transforms.decoding_faults import fault_of
from rtap_assets.transforms.interpreted import Interpreted
from rtap_assets.transforms.projections import Steps
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


def judging_steps(undecoded: Column, *, future_seconds: int, past_seconds: int) -> Steps:
    """Return the projections that make one bronze row of each decoded record, with a reason where it breaks a rule.

    `undecoded` is the fault of a record that is no whole event: a struct of `reason` and `detail`, null for others. Text is
    stored trimmed, with invalid characters replaced by U+FFFD; amounts and times that no reader could represent are null.
    The raw bytes are kept unchanged.

    Shape: the columns that `decoding_steps` returns, to those of `contracts.tables.BRONZE`; grain: one Kafka record.
    Time: `event_time` is judged against the Kafka timestamp, which the broker sets, so a replay judges alike.
    Source: docs/contract.md, "Text", "Money" and "Reason codes".
    """
    texts = {name: F.col(name) for name in rules.TEXT_FIELDS} | {KEY: F.col("raw_key").cast("string")}
    # Computed for the records that are not plain alone; the array of one names its parts without computing them twice.
    closer = F.transform(
        F.array(F.struct(undecoded.alias("fault"), cleaned(texts).alias("texts"))),
        lambda found: F.struct(
            F.transform(found["texts"], lambda text: text["text"]).alias("texts"),
            F.coalesce(
                found["fault"], _broken_rule(found["texts"], future_seconds=future_seconds, past_seconds=past_seconds)
            ).alias("fault"),
        ),
    )
    plain = reduce(Column.__and__, [*_is_as_the_contract_asks(), *_is_in_bounds(future_seconds, past_seconds)])
    kept = (*UNCHANGED_COLUMNS, *rules.TEXT_FIELDS)
    return (
        ["*", amount_of("amount_bytes").alias("amount")],
        ["*", F.coalesce(plain, F.lit(False)).alias("is_plain")],
        [*kept, "is_plain", Interpreted("closer", ~F.col("is_plain"), F.get(closer, F.lit(0)))],
        [_stored(name).alias(name) for name in BRONZE.column_names],
    )


def _is_as_the_contract_asks() -> tuple[Column, ...]:
    """True for a decoded record whose text, codes and key need neither trimming nor a closer look."""
    return (
        F.col("is_whole"),
        is_clean(uuid="event_id", required=("account_id", "product_id"), optional=("promo_code", "sales_channel")),
        F.col("raw_key") == F.col("account_id").cast("binary"),
        F.col("event_type").isin(list(rules.EVENT_TYPES)),
        F.col("plan_tier").isin(list(rules.PLAN_TIERS)),
        F.col("region").isin(list(rules.REGIONS)),
        F.col("currency").isin(_codes_long_in_force()),
        F.col("event_time") >= F.lit(LONG_IN_FORCE).cast("timestamp"),
    )


def _is_in_bounds(future_seconds: int, past_seconds: int) -> tuple[Column, ...]:
    """True for a decoded record whose times and numbers break no rule."""
    bounds = (
        _between(time, future_seconds=future_seconds, past_seconds=past_seconds) for time in ("event_time", "ingest_time")
    )
    return (
        *(~later & ~earlier for later, earlier in bounds),
        F.col("event_time") < F.lit(LATEST_TIME).cast("timestamp"),
        F.col("ingest_time").between(*(F.lit(bound).cast("timestamp") for bound in (EARLIEST_TIME, LATEST_TIME))),
        F.col("schema_version").isNotNull(),
        F.col("quantity") >= 0,
        F.col("amount") >= 0,
    )


def _codes_long_in_force() -> list[str]:
    return sorted(code for code in currencies.ACTIVE if currencies.IN_FORCE_SINCE.get(code, LONG_IN_FORCE) <= LONG_IN_FORCE)


def _place(name: str) -> int:
    return (*rules.TEXT_FIELDS, KEY).index(name)


def _text(texts: Column, name: str) -> Column:
    """The trimmed text of a field among what `cleaned` made."""
    return texts[_place(name)]["text"]


def _broken_rule(texts: Column, *, future_seconds: int, past_seconds: int) -> Column:
    """The first rule about values that the record breaks, in the order of `Reason`; null when it breaks none."""
    details = _details(texts, future_seconds=future_seconds, past_seconds=past_seconds)
    if [*rules.DECODING_REASONS, *details] != list(Reason):
        raise AssertionError("every reason needs its condition, in the order of judgement")
    faults = F.array(*(F.when(detail.isNotNull(), fault_of(reason, detail)) for reason, detail in details.items()))
    return F.get(F.array_compact(faults), F.lit(0))


def _details(texts: Column, *, future_seconds: int, past_seconds: int) -> dict[Reason, Column]:
    """Reason -> what exactly broke the rule; null when the record keeps it."""
    text = partial(_text, texts)
    event_later, event_earlier = _between("event_time", future_seconds=future_seconds, past_seconds=past_seconds)
    ingest_later, ingest_earlier = _between("ingest_time", future_seconds=future_seconds, past_seconds=past_seconds)
    return {
        Reason.AMOUNT_OVERFLOW: F.when(
            F.col("amount").isNull() & F.col("amount_bytes").isNotNull(),
            F.concat(F.length("amount_bytes"), F.lit(" bytes: "), F.hex(F.substring("amount_bytes", 1, 40))),
        ),
        Reason.NULL_KEY: F.when(F.col("raw_key").isNull(), F.lit("")),
        Reason.INVALID_TEXT: first_fault(texts),
        Reason.MISSING_FIELD: _missing(text),
        Reason.KEY_MISMATCH: F.when(
            text(KEY) != text("account_id"),
            F.concat(F.lit("key "), text(KEY), F.lit(", account_id "), text("account_id")),
        ),
        Reason.INVALID_EVENT_ID: F.when(~text("event_id").rlike(rf"^{rules.UUID_PATTERN}\z"), text("event_id")),
        Reason.EVENT_TIME_IN_FUTURE: F.when(event_later, _shown("event_time")),
        Reason.EVENT_TIME_TOO_OLD: F.when(event_earlier, _shown("event_time")),
        Reason.IMPLAUSIBLE_INGEST_TIME: F.when(ingest_later | ingest_earlier, _shown("ingest_time")),
        Reason.UNKNOWN_EVENT_TYPE: _unlisted(text("event_type"), rules.EVENT_TYPES),
        Reason.UNKNOWN_PLAN_TIER: _unlisted(text("plan_tier"), rules.PLAN_TIERS),
        Reason.UNKNOWN_REGION: _unlisted(text("region"), rules.REGIONS),
        Reason.UNKNOWN_CURRENCY: _currency_fault(F.upper(text("currency"))),
        Reason.NEGATIVE_QUANTITY: F.when(F.col("quantity") < 0, F.col("quantity").cast("string")),
        Reason.NEGATIVE_AMOUNT: F.when(
            F.col("amount") < 0, F.concat_ws(" ", F.col("amount").cast("string"), F.col("currency"))
        ),
    }


def _between(time: str, *, future_seconds: int, past_seconds: int) -> tuple[Column, Column]:
    later = F.col(time) > F.col("kafka_timestamp") + F.expr(f"INTERVAL {future_seconds} SECONDS")
    earlier = F.col(time) < F.col("kafka_timestamp") - F.expr(f"INTERVAL {past_seconds} SECONDS")
    return later, earlier


def _missing(text: Callable[[str], Column]) -> Column:
    """The required fields that are null, and the ids that are empty; null when there are none."""
    found = {name: text(name) if name in rules.TEXT_FIELDS else F.col(name) for name in rules.REQUIRED_FIELDS}
    conditions = {f"{name} is null": column.isNull() for name, column in found.items()}
    conditions |= {f"{name} is empty": found[name] == "" for name in rules.REQUIRED_TEXT_FIELDS}
    which = F.concat_ws(", ", *(F.when(condition, F.lit(fault)) for fault, condition in conditions.items()))
    return F.nullif(which, F.lit(""))


def _unlisted(text: Column, spellings: dict[str, str]) -> Column:
    return F.when(~F.lower(text).isin(list(spellings)), text)


def _currency_fault(code: Column) -> Column:
    """Return what is wrong with a code at the event time; null if none. See `rules.currency_fault`."""
    day = F.col("event_time").cast("date")
    since, until = _days(currencies.IN_FORCE_SINCE)[code], _days(currencies.IN_FORCE_UNTIL)[code]
    listed = ",".join(sorted(currencies.ACTIVE | currencies.IN_FORCE_UNTIL.keys()))
    return (
        F.when(F.find_in_set(code, F.lit(listed)) == 0, code)
        .when(day > until.cast("date"), F.concat(code, F.lit(" withdrawn "), until))
        .when(day < since.cast("date"), F.concat(code, F.lit(" in force from "), since))
    )


def _days(days: dict[str, date]) -> Column:
    """One literal: a map of many would be walked by each rule of the optimizer, in each micro-batch."""
    return F.str_to_map(F.lit(",".join(f"{code}:{day}" for code, day in sorted(days.items()))))


def _shown(time: str) -> Column:
    return F.coalesce(_in_bounds(time).cast("string"), F.lit("outside the years 1 to 9999"))


def _in_bounds(time: str) -> Column:
    bounds = (F.lit(bound).cast("timestamp") for bound in (EARLIEST_TIME, LATEST_TIME))
    return F.when(F.col(time).between(*bounds), F.col(time))


def _stored(name: str) -> Column:
    """Return the column with its stored value."""
    if name in rules.TEXT_FIELDS:
        return F.when(F.col("is_plain"), F.col(name)).otherwise(F.col("closer.texts")[_place(name)])
    if name in ("event_time", "ingest_time"):
        return _in_bounds(name)
    if name in REJUDGED_COLUMNS:
        return F.lit(None).cast(BRONZE.type_of(name))
    if name == "error_reason":
        return F.col("closer.fault.reason")
    if name == "error_detail":
        return F.when(~F.col("is_plain"), F.substring(printable(F.col("closer.fault.detail")), 1, LONGEST_DETAIL))
    return F.col(name)
