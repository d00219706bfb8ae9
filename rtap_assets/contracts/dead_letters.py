"""A quarantined record as bronze holds it, its identity, and how far its bytes can be decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rtap_assets.contracts.avro.body import named_types, read_body
from rtap_assets.contracts.avro.body_values import Reading
from rtap_assets.contracts.avro.wire import HEADER_BYTES, MAGIC_BYTE, WIDE_HEADER_BYTES
from rtap_assets.contracts.avro.writer_schemas import RegisteredSchema

# On a redriven record: identity of the quarantined one, number of attempts, repair and run.
REDRIVE_PREFIX = "rtap.redrive."
REDRIVE_ORIGIN, REDRIVE_ATTEMPT = f"{REDRIVE_PREFIX}origin", f"{REDRIVE_PREFIX}attempt"
REDRIVE_REPAIR, REDRIVE_RUN = f"{REDRIVE_PREFIX}repair", f"{REDRIVE_PREFIX}run"
MOST_ATTEMPT_DIGITS = 4

# What dead letters are counted by, UTC.
PERIODS = ("day", "hour")

# Returns the writer's schema of an id, as text or with its references; None when the registry has no such Avro schema.
SchemaOf = Callable[[int], str | RegisteredSchema | None]
Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class DeadLetter:
    """One quarantined row, identified by topic, Kafka partition and offset; key, value and headers are unchanged."""

    topic: str
    kafka_partition: int
    kafka_offset: int
    kafka_timestamp: datetime
    schema_id: int | None
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def identity(self) -> str:
        return f"{self.topic}/{self.kafka_partition}/{self.kafka_offset}"

    @property
    def redriven(self) -> int:
        """Return how often the record was redriven before it was quarantined here; 0 for a producer's own."""
        return attempt_of(self.headers)

    @property
    def origin(self) -> str:
        """Return the identity of the record that the producer sent; after a redrive it differs from `identity`."""
        text = header(self.headers, REDRIVE_ORIGIN)
        return self.identity if text is None else text.decode("utf-8", errors="replace")


def header(headers: Headers, name: str) -> bytes | None:
    """Return the value of the last header with a name; None if there is none."""
    return next((value for key, value in reversed(headers) if key == name), None)


def attempt_of(headers: Headers) -> int:
    """Return the number in the attempt header; 0 without one, or if it has more than four digits."""
    text = header(headers, REDRIVE_ATTEMPT) or b""
    return int(text) if text.isdigit() and len(text) <= MOST_ATTEMPT_DIGITS else 0


def read_value(value: bytes | None, schema_of: SchemaOf) -> Reading | None:
    """Decode the value as far as possible with the writer's schema that its header names.

    Returns None when it has no header in wire format, or the registry has no such schema.
    """
    if value is None or len(value) < HEADER_BYTES or value[0] != MAGIC_BYTE:
        return None
    return _read(value, schema_of(int.from_bytes(value[1:HEADER_BYTES], "big")), start=HEADER_BYTES)


def read_dead_letter(record: DeadLetter, schema_of: SchemaOf) -> Reading | None:
    """Decode a record's value as far as possible, also when bronze found its schema id in a wide or record header.

    Returns None when the value names no schema, or one that the registry does not have.
    """
    value, schema_id = record.value, record.schema_id
    reading = read_value(value, schema_of)
    if reading is not None or value is None or schema_id is None:
        return reading
    wide = value[:1] == bytes([MAGIC_BYTE]) and int.from_bytes(value[1:WIDE_HEADER_BYTES], "big") == schema_id
    return _read(value, schema_of(schema_id), start=WIDE_HEADER_BYTES if wide else 0)


def _read(value: bytes, schema: str | RegisteredSchema | None, *, start: int) -> Reading | None:
    if schema is None or isinstance(schema, str):
        return None if schema is None else read_body(value, schema, start=start)
    named = {name: kind for text in schema.references.values() for name, kind in named_types(text).items()}
    return read_body(value, schema.text, start=start, named=named)


@dataclass(frozen=True)
class Group:
    """Counts of quarantined rows that share reason, schema id and period (a day or an hour, UTC)."""

    period: datetime
    reason: str
    schema_id: int | None
    records: int
    redriven: int
