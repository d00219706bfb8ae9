"""Every bad record deserves its reason and no earlier one: the order of judgement, applied with fastavro alone."""

from __future__ import annotations

import io
import json
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from generator_fixtures import CONTRACT, IDS, MAX_EVENT_BYTES, PAST_MS, START, WRITER_SCHEMAS, chunks_of

from rtap_assets.contracts import rules
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.text import is_text, trim
from rtap_assets.generator.bad_records import LENGTH_BOMBS
from rtap_assets.generator.encoding import unparsed, varint
from rtap_assets.generator.options import GeneratorOptions

FUTURE_MS = 300_000
START_MS = int(START.timestamp() * 1000)
VERSION_OF_ID = {schema_id: version for version, schema_id in IDS.versions.items()}
RECORDS_PER_REASON = 60
# Avro writes text and bytes alike, and bytes can be read whatever they are.
SCHEMAS_IN_BYTES = {
    version: parse_schema(json.loads(json.dumps(unparsed(schema)).replace('"string"', '"bytes"')), named_schemas={})
    for version, schema in CONTRACT.schemas.items()
}


def decoded(version: int, body: bytes) -> tuple[dict[str, Any], int] | None:
    """The event and how many bytes it took; times as milliseconds, amount and text as bytes. None: undecodable."""
    reader, schema = io.BytesIO(body), SCHEMAS_IN_BYTES[version]
    try:
        event = schemaless_reader(reader, schema, None)
    except (EOFError, IndexError, ValueError, UnicodeDecodeError, MemoryError, OverflowError):
        return None
    used = reader.tell()
    # fastavro takes what there is where a length is negative or too large; a reader that checks does not.
    rewritten = io.BytesIO()
    schemaless_writer(rewritten, schema, event)
    return (event, used) if rewritten.getvalue() == body[:used] else None


def judge(key: bytes | None, value: bytes | None) -> Reason | None:
    """The first reason that applies, by the letter of the contract, for a record that the broker took in at START."""
    if value is None:
        return Reason.TOMBSTONE
    if len(value) < 5:
        return Reason.TOO_SHORT
    if len(value) > MAX_EVENT_BYTES:
        return Reason.OVERSIZED
    if value[0] != 0:
        framings, formats = (b"\x03\x00", b"\xc3\x01", b"Obj\x01"), (b"{", b"<", b"\x0a")
        known = dict.fromkeys(framings, Reason.UNSUPPORTED_FRAMING) | dict.fromkeys(formats, Reason.NOT_AVRO)
        return next((reason for start, reason in known.items() if value.startswith(start)), Reason.BAD_MAGIC)
    schema_id, body = int.from_bytes(value[1:5], "big"), value[5:]
    if schema_id in (IDS.incompatible, IDS.foreign):
        return Reason.INCOMPATIBLE_SCHEMA
    if schema_id not in VERSION_OF_ID:
        return Reason.UNKNOWN_SCHEMA_ID
    found = decoded(VERSION_OF_ID[schema_id], body)
    if found is None:
        return Reason.UNDECODABLE
    event, used = found
    return Reason.TRAILING_BYTES if used < len(body) else judge_event(key, event)


def judge_event(key: bytes | None, sent: dict[str, Any]) -> Reason | None:
    amount = int.from_bytes(sent["amount"], "big", signed=True)
    texts = {name: trim((sent.get(name) or b"").decode("utf-8", "replace")) for name in rules.TEXT_FIELDS}
    key_text = trim((key or b"").decode("utf-8", "replace"))
    event = sent | texts
    day = date(1970, 1, 1) + timedelta(milliseconds=max(0, min(sent["event_time"], START_MS)))
    faults = {
        Reason.AMOUNT_OVERFLOW: abs(amount) >= 10**18,
        Reason.NULL_KEY: key is None,
        # No record that is made here holds the replacement character itself.
        Reason.INVALID_TEXT: any(not is_text(text) or "\ufffd" in text for text in (*texts.values(), key_text)),
        Reason.MISSING_FIELD: not all(event[name] for name in rules.REQUIRED_TEXT_FIELDS),
        Reason.KEY_MISMATCH: key_text != event["account_id"],
        Reason.INVALID_EVENT_ID: not re.fullmatch(rules.UUID_PATTERN, event["event_id"]),
        Reason.EVENT_TIME_IN_FUTURE: event["event_time"] > START_MS + FUTURE_MS,
        Reason.EVENT_TIME_TOO_OLD: event["event_time"] < START_MS - PAST_MS,
        Reason.IMPLAUSIBLE_INGEST_TIME: not START_MS - PAST_MS <= event["ingest_time"] <= START_MS + FUTURE_MS,
        Reason.UNKNOWN_EVENT_TYPE: event["event_type"].lower() not in rules.EVENT_TYPES,
        Reason.UNKNOWN_PLAN_TIER: event["plan_tier"].lower() not in rules.PLAN_TIERS,
        Reason.UNKNOWN_REGION: event["region"].lower() not in rules.REGIONS,
        Reason.UNKNOWN_CURRENCY: rules.currency_fault(event["currency"].upper(), day) is not None,
        Reason.NEGATIVE_QUANTITY: event["quantity"] < 0,
        Reason.NEGATIVE_AMOUNT: amount < 0,
    }
    assert list(faults) == list(Reason)[-len(faults) :], "the order of judgement is the order of the codes"
    return next((reason for reason, applies in faults.items() if applies), None)


def records_of(reason: Reason) -> list[tuple[bytes | None, bytes | None, str | None, int | None]]:
    options = GeneratorOptions(events=RECORDS_PER_REASON * 2, invalid=0.5, duplicates=0, reasons=(reason,), v1_share=0.5)
    (chunk,) = chunks_of(options)
    return [
        (
            chunk.columns["key"][row],
            chunk.columns["value"][row],
            chunk.columns["event_id"][row],
            chunk.timestamps_ms.get(row),
        )
        for row, given in enumerate(chunk.reason)
        if given is reason
    ]


@pytest.mark.parametrize("reason", Reason)
def test_a_bad_record_deserves_its_reason_and_no_earlier_one(reason: Reason) -> None:
    records = records_of(reason)
    assert len(records) > RECORDS_PER_REASON / 2
    assert {judge(key, value) for key, value, _, _ in records} == {reason}


def test_a_good_record_deserves_no_reason() -> None:
    (chunk,) = chunks_of(GeneratorOptions(events=2_000, invalid=0, spellings=0.3, delayed=0.1))
    assert {judge(key, value) for key, value in zip(chunk.columns["key"], chunk.columns["value"], strict=True)} == {None}


def test_undecodable_bodies_include_an_empty_one_and_every_length_bomb() -> None:
    bodies = {value[5:] for _, value, _, _ in records_of(Reason.UNDECODABLE) if value is not None}
    assert b"" in bodies
    for claimed in LENGTH_BOMBS:
        assert any(body.startswith(varint(claimed)) for body in bodies)


def test_an_unknown_schema_id_may_need_all_32_bits() -> None:
    ids = {int.from_bytes(value[1:5], "big") for _, value, _, _ in records_of(Reason.UNKNOWN_SCHEMA_ID) if value is not None}
    assert {0, 2**32 - 1} <= ids


def test_an_incompatible_schema_may_be_one_of_something_else() -> None:
    records = records_of(Reason.INCOMPATIBLE_SCHEMA)
    ids = {int.from_bytes(value[1:5], "big") for _, value, _, _ in records if value is not None}
    assert ids == {IDS.incompatible, IDS.foreign}


def test_an_event_time_in_2099_also_comes_with_a_producers_timestamp_of_2099() -> None:
    assert {timestamp is None for _, _, _, timestamp in records_of(Reason.EVENT_TIME_IN_FUTURE)} == {True, False}


def test_the_body_of_the_incompatible_version_is_money_wrong_by_a_hundred() -> None:
    _, value, _, _ = records_of(Reason.INCOMPATIBLE_SCHEMA)[0]
    assert value is not None
    as_written = schemaless_reader(io.BytesIO(value[5:]), WRITER_SCHEMAS[2], None)["amount"]
    with_scale_2 = {**WRITER_SCHEMAS[2], "fields": [dict(field) for field in WRITER_SCHEMAS[2]["fields"]]}
    for field in with_scale_2["fields"]:
        if field["name"] == "amount":
            field["type"] = {**field["type"], "scale": 2}
    assert schemaless_reader(io.BytesIO(value[5:]), with_scale_2, None)["amount"] == as_written * Decimal(100)


def test_the_ledger_has_an_event_id_where_the_bytes_carry_one() -> None:
    carriers = {Reason.NULL_KEY, Reason.KEY_MISMATCH, Reason.TRAILING_BYTES, Reason.UNKNOWN_REGION, Reason.NEGATIVE_QUANTITY}
    for reason in carriers:
        assert all(
            event_id is not None and event_id.encode() in (value or b"") for _, value, event_id, _ in records_of(reason)
        )
    for reason in (Reason.TOMBSTONE, Reason.TOO_SHORT, Reason.UNDECODABLE, Reason.BAD_MAGIC):
        assert {event_id for _, _, event_id, _ in records_of(reason)} == {None}
