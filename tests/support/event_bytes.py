"""Sales events as bytes, written field by field and not by the generator, and Kafka records as Spark's source gives them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from fastavro import parse_schema, schemaless_writer
from pyspark.sql import DataFrame, SparkSession
from spark_fixtures import from_arrow

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.streaming.operations.record_judge import KAFKA_SOURCE

V1, V2 = (version.text for version in load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", EVENTS_SUBJECT_FOLDER))
APPENDED_AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)  # the broker's timestamp unless a record says otherwise
ACCOUNT = "acct-1"


@dataclass(frozen=True)
class Record:
    """One record of the events topic."""

    value: bytes | None
    key: bytes | None = ACCOUNT.encode()
    timestamp: datetime = APPENDED_AT
    headers: list[tuple[str, bytes | None]] | None = field(default=None)


def with_field(schema: str, name: str, type_: Any) -> str:
    """Return the schema with one more optional field at its end."""
    changed = json.loads(schema)
    changed["fields"].append({"name": name, "type": ["null", type_], "default": None, "doc": "Added."})
    return json.dumps(changed)


def with_amount(schema: str, *, precision: int, scale: int) -> str:
    """Return the schema with another decimal as amount."""
    changed = json.loads(schema)
    for child in changed["fields"]:
        if child["name"] == "amount":
            child["type"] |= {"precision": precision, "scale": scale}
    return json.dumps(changed)


def plain(schema: str) -> str:
    """Return the schema without logical types and with bytes for text, so that any time, amount and text can be written."""
    changed = json.loads(schema)
    for child in changed["fields"]:
        if isinstance(child["type"], dict):
            child["type"] = child["type"]["type"]
    return json.dumps(changed).replace('"string"', '"bytes"')


def event_id(number: int) -> str:
    """Return a UUID with a number in it."""
    return str(UUID(int=number, version=4))


def event(at: datetime = APPENDED_AT, **changes: Any) -> dict[str, Any]:
    """Return a purchase of 12.5 EUR, twelve seconds before the broker had it."""
    return {
        "event_id": event_id(1),
        "event_time": at - timedelta(seconds=12),
        "ingest_time": at - timedelta(seconds=2),
        "schema_version": 1,
        "event_type": "purchase",
        "account_id": ACCOUNT,
        "plan_tier": "pro",
        "region": "emea",
        "product_id": "seat",
        "quantity": 1,
        "amount": Decimal("12.5000"),
        "currency": "EUR",
    } | changes


def body(datum: dict[str, Any], schema: str = V1) -> bytes:
    """Return the event as fastavro writes it."""
    buffer = io.BytesIO()
    schemaless_writer(buffer, parse_schema(json.loads(schema)), datum)
    return buffer.getvalue()


def varint(number: int) -> bytes:
    """Return an Avro integer: zigzag, seven bits a byte."""
    rest, encoded = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*encoded, rest])


def framed(schema_id: int, avro: bytes) -> bytes:
    """Return a value in wire format, put together by hand."""
    return b"\x00" + schema_id.to_bytes(4, "big") + avro


def kafka_frame(session: SparkSession, records: list[Record], *, topic: str = "sales.events.v1") -> DataFrame:
    """Return the records as Spark's Kafka source gives them: Kafka partition 0, offsets in order."""
    rows = [
        {
            "key": record.key,
            "value": record.value,
            "topic": topic,
            "partition": 0,
            "offset": offset,
            "timestamp": record.timestamp,
            "timestampType": 1,
            "headers": record.headers and [{"key": key, "value": value} for key, value in record.headers],
        }
        for offset, record in enumerate(records)
    ]
    return from_arrow(session, rows, KAFKA_SOURCE)
