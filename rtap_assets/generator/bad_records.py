"""Invalid records for each reason code: bytes whose first applicable reason, in order of evaluation, is that one.

Each starts from a valid event and has exactly one fault. Pure, like `events`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastavro import schemaless_reader

from rtap_assets.contracts.avro.wire import HEADER_BYTES, MAX_SCHEMA_ID, frame, header
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.text import trim
from rtap_assets.generator.encoding import as_bytes, encode_datum, text, varint
from rtap_assets.generator.events import WriterIds

YEAR_2099_MS = 4_070_908_800_000
DAY_MS = 86_400_000
LENGTH_BOMBS = (200_000_000, 1_500_000_000, 2**31 - 1000)
# The last ones look small to a reader that takes only the lowest 64 bits.
OVERFLOWING_AMOUNTS = (10**18, -(10**18), 10**22 + 1, 123_456_789 * 10**20, 2**200 + 1_234_500, -(2**130) + 99)
# An id this far ahead will not be assigned while the run's records exist.
FAR_AHEAD = 1_000_000


@dataclass(frozen=True)
class Message:
    """One Kafka record to send; `event_id` only if its bytes carry one."""

    key: bytes | None
    value: bytes | None
    event_id: str | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True)
class Contract:
    """Inputs for invalid records: writer schemas without logical types by version, ids and limits."""

    schemas: Mapping[int, dict[str, Any]]
    ids: WriterIds
    max_event_bytes: int
    event_time_past_ms: int


@dataclass(frozen=True)
class _Base:
    """The valid event that an invalid record is derived from."""

    rng: np.random.Generator
    contract: Contract
    key: bytes
    value: bytes
    version: int
    event: dict[str, Any]

    def choose(self, *variants: Any) -> Any:
        return variants[int(self.rng.integers(len(variants)))]

    @property
    def body(self) -> bytes:
        return self.value[HEADER_BYTES:]

    def changed(self, *, key: bytes | None = None, timestamp_ms: int | None = None, **fields: Any) -> Message:
        """Return the event with some fields changed, under its own key unless another is given."""
        event = self.event | fields
        body = encode_datum(event, self.contract.schemas[self.version])
        value = frame(self.contract.ids.versions[self.version], body)
        return Message(key or self.key, value, event["event_id"] or None, timestamp_ms)

    def with_bytes(self, field: str, sent: bytes) -> Message:
        """Return the event with arbitrary bytes as the text of a field; an account's are the key as well."""
        schema = as_bytes(self.contract.schemas[self.version], field)
        value = frame(self.contract.ids.versions[self.version], encode_datum(self.event | {field: sent}, schema))
        key = sent if field == "account_id" else self.key
        return Message(key, value, None if field == "event_id" else self.event["event_id"])

    def raw(self, value: bytes | None) -> Message:
        """Return a value that carries no readable event."""
        return Message(self.key, value)


def bad_record(
    rng: np.random.Generator, reason: Reason, contract: Contract, *, key: bytes, value: bytes, version: int
) -> Message:
    """Return the valid record (`key`, `value`, written with `version`), corrupted so that it has `reason`."""
    event = schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), contract.schemas[version], None)
    return _MAKERS[reason](_Base(rng, contract, key, value, version, event))


def _oversized(base: _Base) -> Message:
    excess = base.contract.max_event_bytes + int(base.rng.integers(1, 4096))
    return base.changed(product_id="x" * excess)


def _bad_magic(base: _Base) -> Message:
    """Return a value whose first byte begins no known framing or format."""
    return base.raw(base.choose(b"\xfe" + base.value[1:], b"\xff\xf0" + base.rng.bytes(40)))


def _unsupported_framing(base: _Base) -> Message:
    """Return Avro data framed by another registry's serializer, a file writer, or not framed."""
    glue = b"\x03\x00" + base.rng.bytes(6) + b"\x4d" + base.rng.bytes(1) + b"\x9a" + base.rng.bytes(7) + base.body
    return base.raw(base.choose(glue, b"\xc3\x01" + base.rng.bytes(8) + base.body, b"Obj\x01" + base.rng.bytes(40)))


def _not_avro(base: _Base) -> Message:
    json_text = f'{{"event_id": "{base.event["event_id"]}", "currency": "{base.event["currency"]}"}}'
    identifier = base.event["event_id"].encode()
    protobuf = b"\x0a" + bytes([len(identifier)]) + identifier + b"\x12\x03" + base.event["currency"][:3].encode()
    return base.raw(base.choose(json_text.encode(), f"<event id='{base.event['event_id']}'/>".encode(), protobuf))


def _unknown_schema_id(base: _Base) -> Message:
    unknown = (0, max(base.contract.ids.versions.values()) + FAR_AHEAD, 2**31 - 1, MAX_SCHEMA_ID)
    return base.raw(frame(base.choose(*unknown), base.body))


def _incompatible_schema(base: _Base) -> Message:
    """Return an amount of scale 2, as its registered schema declares, or a record of an unrelated schema."""
    ids = base.contract.ids
    assert ids.incompatible is not None, "the schema that breaks the contract must be registered first"
    body = encode_datum(base.event, base.contract.schemas[2])
    schema_id = base.choose(ids.incompatible, *([ids.foreign] if ids.foreign is not None else []))
    return Message(base.key, frame(schema_id, body), base.event["event_id"])


def _amount_overflow(base: _Base) -> Message:
    amount = base.choose(*OVERFLOWING_AMOUNTS)
    return base.changed(amount=amount.to_bytes(amount.bit_length() // 8 + 1, "big", signed=True))


def _undecodable(base: _Base) -> Message:
    ids = base.contract.ids.versions
    body_v1 = encode_datum(base.event, base.contract.schemas[1])
    random_bytes = base.rng.bytes(80)
    claimed = base.choose(*LENGTH_BOMBS)
    bodies = {
        "truncated": frame(ids[base.version], base.body[: int(base.rng.integers(1, len(base.body)))]),
        # An odd first byte is a negative length, so these never decode by accident.
        "random": frame(ids[base.version], bytes([random_bytes[0] | 1]) + random_bytes[1:]),
        "empty": header(ids[base.version]),
        "bomb": frame(ids[base.version], varint(claimed) + text("short")),
        "no such branch": frame(ids[2], body_v1 + varint(5) + b"\x00"),
        "older body under the newer id": frame(ids[2], body_v1),
    }
    return base.raw(
        bodies[base.choose("truncated", "random", "empty", "bomb", "bomb", "no such branch", *list(bodies)[-1:])]
    )


def _trailing_bytes(base: _Base) -> Message:
    ids = base.contract.ids.versions
    body_v2 = encode_datum(base.event, base.contract.schemas[2])
    extra = base.choose(b"\x00", b"\r\n", base.rng.bytes(12), base.body)
    value = base.choose(base.value + extra, base.value + extra, frame(ids[1], body_v2))
    return Message(base.key, value, base.event["event_id"])


def _invalid_text(base: _Base) -> Message:
    """Return text in another encoding, cut within a character, or with a forbidden character inside."""
    field = base.choose("event_id", "account_id", "product_id", "region", "currency")
    sent = trim(base.event[field])  # what is inserted must not be trimmed
    corrupted = base.choose(
        (sent[:2] + "é").encode("latin-1"),
        sent[:2].encode() + b"\xe2\x82",
        sent[:1].encode() + b"\xed\xa0\x80\xc0\x80" + sent[1:].encode(),
        (sent[:1] + "\x00" + sent[1:]).encode(),
        (sent[:1] + "\x1b[2J" + sent[1:]).encode(),
        (sent[:1] + "\u200b" + sent[1:]).encode(),
    )
    return base.with_bytes(field, corrupted)


def _negative_amount(base: _Base) -> Message:
    """Return a refund or a purchase below zero, or a magnitude without its sign byte."""
    amount = base.choose(
        b"\xff", b"\x80\x00", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x80", (-125_000).to_bytes(3, "big", signed=True)
    )
    return base.changed(amount=amount, event_type=base.choose("purchase", "refund"))


def _missing_field(base: _Base) -> Message:
    emptied: dict[str, Any] = {base.choose("event_id", "account_id", "product_id"): ""}
    return base.changed(**emptied)


def _key_mismatch(base: _Base) -> Message:
    return base.changed(key=base.choose(b"acct-of-somebody-else", base.key.upper(), b"0" + base.key))


def _invalid_event_id(base: _Base) -> Message:
    identifier = base.event["event_id"]
    # Derived from the original id, so that no two of these records are equal by chance.
    return base.changed(event_id=base.choose(f"order-{identifier[:8]}", identifier[:-1], identifier.replace("-", "")))


def _event_time_in_future(base: _Base) -> Message:
    ingested = base.event["ingest_time"]
    claimed = base.choose(None, None, YEAR_2099_MS)  # a producer's timestamp must not make it plausible
    return base.changed(event_time=base.choose(YEAR_2099_MS, ingested + 400 * DAY_MS), timestamp_ms=claimed)


def _event_time_too_old(base: _Base) -> Message:
    oldest = base.event["ingest_time"] - base.contract.event_time_past_ms
    return base.changed(event_time=base.choose(0, -1, oldest - DAY_MS, oldest - 900 * DAY_MS))


_MAKERS: dict[Reason, Callable[[_Base], Message]] = {
    Reason.TOMBSTONE: lambda base: base.raw(None),
    Reason.TOO_SHORT: lambda base: base.raw(base.value[: int(base.rng.integers(0, HEADER_BYTES))]),
    Reason.OVERSIZED: _oversized,
    Reason.BAD_MAGIC: _bad_magic,
    Reason.UNSUPPORTED_FRAMING: _unsupported_framing,
    Reason.NOT_AVRO: _not_avro,
    Reason.UNKNOWN_SCHEMA_ID: _unknown_schema_id,
    Reason.INCOMPATIBLE_SCHEMA: _incompatible_schema,
    Reason.UNDECODABLE: _undecodable,
    Reason.TRAILING_BYTES: _trailing_bytes,
    Reason.AMOUNT_OVERFLOW: _amount_overflow,
    Reason.NULL_KEY: lambda base: Message(None, base.value, base.event["event_id"]),
    Reason.INVALID_TEXT: _invalid_text,
    Reason.MISSING_FIELD: _missing_field,
    Reason.KEY_MISMATCH: _key_mismatch,
    Reason.INVALID_EVENT_ID: _invalid_event_id,
    Reason.EVENT_TIME_IN_FUTURE: _event_time_in_future,
    Reason.EVENT_TIME_TOO_OLD: _event_time_too_old,
    Reason.IMPLAUSIBLE_INGEST_TIME: lambda base: base.changed(ingest_time=base.choose(YEAR_2099_MS, 0)),
    Reason.UNKNOWN_EVENT_TYPE: lambda base: base.changed(event_type=base.choose("giveaway", "chargeback", "")),
    Reason.UNKNOWN_PLAN_TIER: lambda base: base.changed(plan_tier=base.choose("platinum", "pro+", "")),
    Reason.UNKNOWN_REGION: lambda base: base.changed(region=base.choose("mars", "em ea", "")),
    Reason.UNKNOWN_CURRENCY: lambda base: base.changed(currency=base.choose("XXX", "BTC", "EURO", "DEM", "")),
    Reason.NEGATIVE_QUANTITY: lambda base: base.changed(quantity=base.choose(-1, -12, -(2**31))),
    Reason.NEGATIVE_AMOUNT: _negative_amount,
}
