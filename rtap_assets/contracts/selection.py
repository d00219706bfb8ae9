"""Selects quarantined rows of bronze: by reason, schema id, time, key and offset.

Renders one SQL condition for both DuckDB and Spark, only from validated values, never from raw text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from rtap_assets.contracts.rules import Reason
from rtap_assets.errors import ConfigurationError

T = TypeVar("T")

QUARANTINED = "error_reason IS NOT NULL"


@dataclass(frozen=True)
class Selection:
    """A selection of quarantined rows; an empty field does not restrict it. `limit` (0: none) keeps the oldest.

    Time: `since` (inclusive) and `until` (exclusive) are compared with the Kafka timestamp. `offset_to` is inclusive.
    """

    reasons: tuple[str, ...] = ()
    schema_ids: tuple[int, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    key: str | None = None
    partition: int | None = None
    offset_from: int | None = None
    offset_to: int | None = None
    limit: int = 0

    def __post_init__(self) -> None:
        known = [reason.value for reason in Reason]
        unknown = [reason for reason in self.reasons if reason not in known]
        if unknown:
            raise ConfigurationError(
                f"There is no reason {', '.join(unknown)}.", remedy=f"The reasons are: {', '.join(known)}."
            )
        for time in (self.since, self.until):
            if time is not None and time.tzinfo is None:
                raise ConfigurationError(f"The time {time} has no time zone.", remedy="Write for example 2026-03-01T12:00Z.")
        if (self.offset_from is not None or self.offset_to is not None) and self.partition is None:
            raise ConfigurationError(
                "Offsets belong to one Kafka partition, and none is given.", remedy="Add --partition, or leave offsets out."
            )

    def where(self) -> str:
        """Return the condition on bronze's columns."""
        parts = [QUARANTINED]
        if self.reasons:
            parts.append(f"error_reason IN ({', '.join(repr(Reason(reason).value) for reason in self.reasons)})")
        if self.schema_ids:
            parts.append(f"schema_id IN ({', '.join(str(int(schema_id)) for schema_id in self.schema_ids)})")
        if self.since is not None:
            parts.append(f"kafka_timestamp >= {_instant(self.since)}")
        if self.until is not None:
            parts.append(f"kafka_timestamp < {_instant(self.until)}")
        if self.key is not None:
            parts.append(f"hex(raw_key) = '{self.key.encode().hex().upper()}'")
        places = (
            ("kafka_partition =", self.partition),
            ("kafka_offset >=", self.offset_from),
            ("kafka_offset <=", self.offset_to),
        )
        parts += [f"{condition} {int(value)}" for condition, value in places if value is not None]
        return " AND ".join(parts)

    def describe(self) -> str:
        """Return the restrictions of the selection, for messages and the audit."""
        given = {name: value for name, value in self.to_json().items() if value not in (None, 0, [], ())}
        return json.dumps(given, sort_keys=True) if given else "every quarantined row"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; instants as ISO 8601."""
        return asdict(self) | {
            "reasons": list(self.reasons),
            "schema_ids": list(self.schema_ids),
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the selection that `to_json` wrote; missing fields do not restrict it.

        Raises:
            ConfigurationError: a field is unknown or has an invalid value.
        """
        unknown = sorted(document.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            raise ConfigurationError(f"A selection of dead letters has no {', '.join(unknown)}.")
        try:
            return cls(
                reasons=tuple(str(reason) for reason in document.get("reasons") or ()),
                schema_ids=tuple(int(schema_id) for schema_id in document.get("schema_ids") or ()),
                since=_given(datetime.fromisoformat, document.get("since")),
                until=_given(datetime.fromisoformat, document.get("until")),
                key=_given(str, document.get("key")),
                partition=_given(int, document.get("partition")),
                offset_from=_given(int, document.get("offset_from")),
                offset_to=_given(int, document.get("offset_to")),
                limit=int(document.get("limit") or 0),
            )
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"The selection of dead letters is not valid: {error}.") from error


def _given(convert: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else convert(value)


def _instant(time: datetime) -> str:
    """Return the time as an SQL literal for both engines, whose sessions are in UTC."""
    return f"CAST('{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}' AS TIMESTAMP)"
