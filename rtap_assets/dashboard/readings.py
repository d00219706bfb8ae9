"""What the API reads from the marts and the lake: one statement per reading, its filters and its order, as data.

Rows come newest first where they have a time. A cursor names the last row by its key, so that a refresh between two pages
neither skips nor repeats a row; each page says of which refresh it is.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rtap_assets.errors import ConfigurationError
from rtap_assets.quality.catalog import Outcome

DEFAULT_LIMIT, MOST_LIMIT = 1_000, 10_000
MOST_FILTER = 200  # characters
TIME, TEXT = "TIMESTAMPTZ", "VARCHAR"
GROUPS = (("plan_tier", TEXT), ("region", TEXT), ("currency", TEXT))

# A revenue hour has the status of its least reliable window, and is provisional until the watermark has passed all of it.
_HOURS = """
SELECT date_trunc('hour', window_start) AS hour, plan_tier, region, currency, sum(gross_amount) AS gross_amount,
    sum(refund_amount) AS refund_amount, sum(net_amount) AS net_amount, sum(orders)::BIGINT AS orders,
    sum(refunds)::BIGINT AS refunds,
    CASE
        WHEN coalesce(any_value(date_trunc('hour', window_start)) + INTERVAL 1 HOUR > (SELECT watermark FROM refresh), true)
            OR bool_or(status = 'provisional') THEN 'provisional'
        WHEN bool_or(status = 'restated') THEN 'restated'
        ELSE 'final'
    END AS status
FROM tumbling_revenue GROUP BY date_trunc('hour', window_start), plan_tier, region, currency
"""
# `outcome` as `quality.catalog.DqResult.outcome`: what looked at nothing has not passed.
_CHECKS = f"""
SELECT table_name, check_name, severity, blocking, passed, observed, threshold, rows_checked, rows_failed, measured_at,
    detail, CASE
        WHEN NOT passed THEN '{Outcome.FAILED}' WHEN rows_checked > 0 THEN '{Outcome.PASSED}'
        ELSE '{Outcome.NOTHING_TO_CHECK}'
    END AS outcome
FROM quality QUALIFY row_number() OVER (PARTITION BY table_name, check_name ORDER BY measured_at DESC, result_id DESC) = 1
"""
_RECORDS = """
SELECT topic, kafka_partition, kafka_offset, kafka_timestamp, schema_id, error_reason AS reason, error_detail AS detail,
    raw_key, raw_value[1:48] AS raw_value, octet_length(raw_value) AS value_bytes
FROM bronze WHERE error_reason IS NOT NULL
"""


@dataclass(frozen=True)
class Filter:
    """One filter of a reading: the column compared, how, and what the value is."""

    column: str
    operator: str = "="
    is_instant: bool = False
    doc: str = ""


def _period(column: str) -> dict[str, Filter]:
    return {
        "from": Filter(column, ">=", is_instant=True, doc=f"Earliest {column}, inclusive, ISO 8601 with its offset."),
        "to": Filter(column, "<", is_instant=True, doc=f"Latest {column}, exclusive."),
    }


def _equal(*names: str) -> dict[str, Filter]:
    return {name: Filter(name, doc=f"Rows of this {name} alone.") for name in names}


@dataclass(frozen=True)
class Reading:
    """One reading. `key` identifies a row and orders them, all descending or all ascending: expressions without nulls, with
    their types."""

    name: str
    summary: str
    statement: str
    key: tuple[tuple[str, str], ...]
    filters: dict[str, Filter]
    descending: bool = True
    from_lake: bool = False

    @property
    def computed_keys(self) -> list[str]:
        """Return the parts of the key that are no columns."""
        return [expression for expression, _ in self.key if not expression.isidentifier()]


READINGS = {
    one.name: one
    for one in (
        Reading(
            "revenue", "Revenue by hour, plan tier, region and currency, from the tumbling windows of the marts.", _HOURS,
            (("hour", TIME), *GROUPS),
            _period("hour") | _equal("plan_tier", "region", "currency", "status"),
        ),
        Reading(
            "rolling", "Every sliding window of the marts; they overlap, so their sums must not be added up.",
            "FROM rolling_revenue", (("window_start", TIME), *GROUPS),
            _period("window_start") | _equal("plan_tier", "region", "currency", "status"),
        ),
        Reading(
            "tumbling", "The windows of the marts that tile the time line: every event is in exactly one of them.",
            "FROM tumbling_revenue", (("window_start", TIME), *GROUPS),
            _period("window_start") | _equal("plan_tier", "region", "currency", "status"),
        ),
        Reading(
            "corrections", "Corrections with cause and run, and each window of gold that they changed: from, to.",
            "FROM corrections",
            (("planned_at", TIME), ("correction_id", TEXT), ("coalesce(window_start, planned_at)", TIME),
             *((f"coalesce({name}, '')", TEXT) for name, _ in GROUPS)),
            _period("planned_at") | _equal("cause", "state", "plan_tier", "region", "currency"),
        ),
        Reading(
            "latency", "Latency percentiles by hour and overall (hour is null), milliseconds.", "FROM latency_percentiles",
            (("latency", TEXT), ("coalesce(hour, to_timestamp(0))", TIME)), _equal("latency"), descending=False,
        ),
        Reading(
            "dead-letters", "Quarantined records by reason.", "FROM dlq_by_reason", (("reason", TEXT),), _equal("reason"),
            descending=False,
        ),
        Reading(
            "quality", "The newest result of each data-quality check.", _CHECKS,
            (("table_name", TEXT), ("check_name", TEXT)),
            _equal("table_name", "check_name", "severity"), descending=False, from_lake=True,
        ),
        Reading(
            "records", "Quarantined records of one reason, newest first, with their place and the start of their bytes.",
            _RECORDS,
            (("kafka_timestamp", TIME), ("topic", TEXT), ("kafka_partition", "BIGINT"), ("kafka_offset", "BIGINT")),
            _period("kafka_timestamp") | _equal("reason"), from_lake=True,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """A reading with its filters' values, its limit and where it goes on."""

    reading: Reading
    conditions: tuple[str, ...]
    values: tuple[Any, ...]
    limit: int

    @classmethod
    def of(cls, reading: Reading, query: Sequence[tuple[str, str]], *, fixed: Mapping[str, str] | None = None) -> Question:
        """Return the question that the parameters of an address ask; `fixed` are values that its path gives.

        Raises:
            ConfigurationError: a parameter is unknown, given twice, or its value cannot be used.
        """
        given = dict(query)
        known = [name for name in (*reading.filters, "limit", "cursor") if name not in (fixed or {})]
        if given.keys() - set(known) or len(given) < len(query):
            raise ConfigurationError(f"Each parameter may be given once, and is one of {', '.join(known)}.")
        conditions, values = [], []
        for name, one in reading.filters.items():
            if (text := (fixed or {}).get(name, given.get(name))) is not None:
                conditions.append(f"{one.column} {one.operator} ?")
                values.append(_instant(name, text) if one.is_instant else _text(name, text))
        if (cursor := given.get("cursor")) is not None:
            last = _decoded(cursor, [kind for _, kind in reading.key])
            left = ", ".join(expression for expression, _ in reading.key)
            right = ", ".join(f"?::{kind}" for _, kind in reading.key)
            conditions.append(f"({left}) {'<' if reading.descending else '>'} ({right})")
            values += last
        return cls(reading, tuple(conditions), tuple(values), _limit(given.get("limit")))

    @property
    def sql(self) -> str:
        """Return the statement; what of the key is no column of the rows comes behind them, for a cursor."""
        reading = self.reading
        where = f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        order = ", ".join(f"{one} {'DESC' if reading.descending else 'ASC'}" for one, _ in reading.key)
        keys = "".join(f", {one} AS key_{index}" for index, one in enumerate(reading.computed_keys))
        statement = reading.statement if reading.statement.lstrip().startswith("SELECT") else f"SELECT * {reading.statement}"
        return f"SELECT *{keys} FROM ({statement}){where} ORDER BY {order} LIMIT {self.limit + 1}"


def cursor_after(reading: Reading, columns: Sequence[str], row: Sequence[Any]) -> str:
    """Return the cursor that goes on after a row of the statement, which ends with the computed parts of its key."""
    computed = iter(row[len(columns) - len(reading.computed_keys) :])
    key = [row[columns.index(one)] if one.isidentifier() else next(computed) for one, _ in reading.key]
    return base64.urlsafe_b64encode(json.dumps([str(one) for one in key]).encode()).decode().rstrip("=")


def _decoded(cursor: str, kinds: Sequence[str]) -> list[str]:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise ConfigurationError("The cursor is not one of this API.") from error
    is_key = isinstance(key, list) and len(key) == len(kinds) and all(isinstance(one, str) for one in key)
    if not (is_key and all(_is_value(kind, one) for kind, one in zip(kinds, key, strict=True))):
        raise ConfigurationError("The cursor is not one of this reading.")
    found: list[str] = key
    return found


def _is_value(kind: str, text: str) -> bool:
    """Return whether a text of a cursor is a value of its column's type."""
    try:
        if kind == TIME:
            return datetime.fromisoformat(text).tzinfo is not None
        return kind == TEXT or abs(int(text)) < 2**63
    except ValueError:
        return False


def _instant(name: str, text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{name} must be a time in ISO 8601, for example 2026-03-01T12:00:00Z.") from error
    if instant.tzinfo is None:
        raise ConfigurationError(f"{name} must have an offset, for example Z: a time without one means nothing.")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ConfigurationError(f"{name} must be within the years 1 to 9999 in UTC.") from error


def _text(name: str, text: str) -> str:
    if len(text) > MOST_FILTER:
        raise ConfigurationError(f"{name} is longer than {MOST_FILTER} characters.")
    return text


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_LIMIT):
        raise ConfigurationError(f"limit must be a whole number from 1 to {MOST_LIMIT}.")
    return int(text)
