"""A dead letter as bronze holds it, its identity, and how far its bytes can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rtap_assets.contracts.avro.body import named_types, read_body
from rtap_assets.contracts.avro.body_values import Reading
from rtap_assets.contracts.avro.wire import HEADER_BYTES, MAGIC_BYTE, WIDE_HEADER_BYTES
from rtap_assets.contracts.avro.writer_schemas import RegisteredSchema

# On a record that was sent again: where the quarantined one is, how often it was sent, by which repair and run.
REDRIVE_PREFIX = "rtap.redrive."
REDRIVE_ORIGIN, REDRIVE_ATTEMPT = f"{REDRIVE_PREFIX}origin", f"{REDRIVE_PREFIX}attempt"
REDRIVE_REPAIR, REDRIVE_RUN = f"{REDRIVE_PREFIX}repair", f"{REDRIVE_PREFIX}run"
MOST_ATTEMPT_DIGITS = 4

# The writer's schema of an id, as text or with what it refers to; None when the registry has no such Avro schema.
SchemaOf = Callable[[int], str | RegisteredSchema | None]
Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class DeadLetter:
    """One quarantined row: topic, Kafka partition and offset are its identity; key, value and headers are unchanged."""

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
        """How often the record had been sent again before it was quarantined here; 0 for a producer's own."""
        return attempt_of(self.headers)

    @property
    def origin(self) -> str:
        """The identity of the record that a producer sent: another one's after a redrive."""
        text = header(self.headers, REDRIVE_ORIGIN)
        return self.identity if text is None else text.decode("utf-8", errors="replace")


def header(headers: Headers, name: str) -> bytes | None:
    """Return the last header of a name."""
    return next((value for key, value in reversed(headers) if key == name), None)


def attempt_of(headers: Headers) -> int:
    """Return the number in the attempt header; 0 where there is none, or no number of at most four digits."""
    text = header(headers, REDRIVE_ATTEMPT) or b""
    return int(text) if text.isdigit() and len(text) <= MOST_ATTEMPT_DIGITS else 0


def read_value(value: bytes | None, schema_of: SchemaOf) -> Reading | None:
    """Return how far the value can be read with the writer's schema that its header names.

    None where it has no header in wire format, or the registry knows no such schema.
    """
    if value is None or len(value) < HEADER_BYTES or value[0] != MAGIC_BYTE:
        return None
    return _read(value, schema_of(int.from_bytes(value[1:HEADER_BYTES], "big")), start=HEADER_BYTES)


def read_letter(letter: DeadLetter, schema_of: SchemaOf) -> Reading | None:
    """Return how far a letter's value can be read, also where bronze found its schema id in a wider header or in a header.

    None where the value names no schema, or none that the registry knows.
    """
    value, schema_id = letter.value, letter.schema_id
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
    """How many quarantined rows share reason, schema id and period (a day or an hour, UTC)."""

    period: datetime
    reason: str
    schema_id: int | None
    records: int
    redriven: int


def totals_by_reason(groups: Sequence[Group]) -> dict[str, int]:
    """Return the records of each reason, most first."""
    totals: dict[str, int] = {}
    for group in groups:
        totals[group.reason] = totals.get(group.reason, 0) + group.records
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))
