"""Messages of the aggregate topic as values: read with their writer's schema, amounts as exact whole numbers.

Values only: what looks a schema up is passed in. Amounts are in ten-thousandths of the currency's unit.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from rtap_assets.contracts.avro.wire import unframe
from rtap_assets.contracts.tables import GOLD, REVENUE_MEASURES
from rtap_assets.errors import ContractError

SCALE = 4
AMOUNTS = tuple(one.name for one in REVENUE_MEASURES if one.type.startswith("decimal"))
TEXTS = ("plan_tier", "region", "currency")
INSTANTS = {"timestamp-millis": 1, "timestamp-micros": 1_000}  # units in a millisecond
MOST_TEXT = 100  # characters; a longer code is no code


class Measures(NamedTuple):
    """What a window sums: amounts in ten-thousandths, counts as they are."""

    gross: int = 0
    refund: int = 0
    net: int = 0
    orders: int = 0
    refunds: int = 0

    def plus(self, other: Measures) -> Measures:
        """Return the sum."""
        return Measures(
            self.gross + other.gross, self.refund + other.refund, self.net + other.net,
            self.orders + other.orders, self.refunds + other.refunds,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RevenueMessage:
    """One window of one plan tier, region and currency. Instants are milliseconds since the epoch."""

    start_ms: int
    end_ms: int
    plan_tier: str
    region: str
    currency: str
    measures: Measures
    revision: int
    updated_ms: int


class RevenueReader:
    """Reads values of the aggregate topic. `schema_of` returns the text of a registered schema, None if there is none."""

    def __init__(self, schema_of: Callable[[int], str | None]) -> None:
        self._schema_of = schema_of
        self._writers: dict[int, _Writer] = {}

    def read(self, value: bytes) -> RevenueMessage:
        """Return the message.

        Raises:
            ContractError: the value is not a message of this topic's contract.
            DependencyUnavailable: its schema had to be asked for, and the registry did not answer.
        """
        schema_id, body = unframe(value)
        writer = self._writers.get(schema_id)
        if writer is None:
            text = self._schema_of(schema_id)
            if text is None:
                raise ContractError(f"The registry knows no schema {schema_id}.")
            writer = self._writers[schema_id] = _Writer.of(text)
        return writer.read(body)


@dataclass(frozen=True)
class _Writer:
    """A writer's schema without its logical types, and what they were: that reads three times as fast."""

    plain: Any
    factors: dict[str, int]
    units: dict[str, int]

    @classmethod
    def of(cls, text: str) -> _Writer:
        try:
            schema = json.loads(text)
            kinds = {field["name"]: field["type"] for field in schema["fields"]}
            factors = {name: 10 ** (SCALE - _scale_of(kinds[name])) for name in AMOUNTS}
            units = {name: INSTANTS[kinds[name]["logicalType"]] for name in ("window_start", "window_end", "updated_at")}
            fields = [{"name": name, "type": _without_logical_type(kind)} for name, kind in kinds.items()]
            plain = fastavro.parse_schema({"type": "record", "name": "RevenueWindow", "fields": fields}, _write_hint=False)
        except (KeyError, TypeError, ValueError, SchemaParseException, UnknownType) as error:
            raise ContractError(f"A schema of the topic cannot be read: {type(error).__name__}: {error}") from error
        return cls(plain, factors, units)

    def read(self, body: bytes) -> RevenueMessage:
        try:
            record: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(body), self.plain, None)
            amounts = {name: int.from_bytes(record[name], "big", signed=True) * f for name, f in self.factors.items()}
            times = {name: record[name] // unit for name, unit in self.units.items()}
            tier, region, currency = (record[name] for name in TEXTS)
            measures = Measures(
                amounts["gross_amount"], amounts["refund_amount"], amounts["net_amount"],
                int(record["orders"]), int(record["refunds"]),
            )  # fmt: skip
            revision = int(record["revision"])
        except (KeyError, TypeError, ValueError, EOFError, IndexError, OverflowError) as error:
            raise ContractError(f"A message of the topic cannot be read: {type(error).__name__}: {error}") from error
        if not all(isinstance(text, str) and 0 < len(text) <= MOST_TEXT for text in (tier, region, currency)):
            raise ContractError(f"A message of the aggregate topic has no usable {', '.join(TEXTS)}.")
        if times["window_end"] <= times["window_start"]:
            raise ContractError("A message of the aggregate topic has a window without a length.")
        return RevenueMessage(
            times["window_start"], times["window_end"], tier, region, currency, measures, revision, times["updated_at"]
        )


def _scale_of(kind: Any) -> int:
    if kind["logicalType"] != "decimal" or not 0 <= int(kind.get("scale", 0)) <= SCALE:
        raise ValueError(f"an amount is not a decimal of at most {SCALE} decimals")
    return int(kind.get("scale", 0))


def _without_logical_type(kind: Any) -> Any:
    if isinstance(kind, dict) and "logicalType" in kind:
        return {key: value for key, value in kind.items() if key not in {"logicalType", "precision", "scale"}}
    return kind


def decimal_text(amount: int) -> str:
    """Return an amount in ten-thousandths as a decimal with four places: exact, for JSON."""
    sign, digits = ("-" if amount < 0 else ""), abs(amount)
    return f"{sign}{digits // 10**SCALE}.{digits % 10**SCALE:0{SCALE}d}"


assert set(TEXTS) < set(GOLD.key)  # the windows of gold have exactly these groups
