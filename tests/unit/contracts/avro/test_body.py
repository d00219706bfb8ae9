"""The reader of Avro bodies: what a sound body holds and where, and the byte and field at which a broken one fails."""

from __future__ import annotations

import json
import random
import time
from decimal import Decimal
from typing import Any

import pytest
from event_bytes import V1, V2, body, event, framed, varint

from rtap_assets.contracts.avro.body import named_types, read_body
from rtap_assets.contracts.avro.body_values import Fault, Reading
from rtap_assets.contracts.avro.writer_schemas import RegisteredSchema
from rtap_assets.contracts.dead_letters import read_value
from rtap_assets.contracts.visible import shown_bytes, visible, visible_markdown

WHOLE = body(event())
BEFORE_AMOUNT = len(WHOLE) - len(b"\x06\x01\xe8\x48") - len(b"\x06EUR")


def record(*fields: Any) -> str:
    return json.dumps({"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in fields]})


def fault(reading: Reading) -> tuple[Fault, str, int]:
    (finding,) = reading.findings
    return finding.fault, finding.path, finding.offset


def test_a_sound_event_is_read_whole_with_the_place_of_each_value() -> None:
    reading = read_body(b"\x00\x00\x00\x00\x07" + WHOLE, V1, start=5)
    assert (reading.complete, reading.findings, reading.end) == (True, (), 5 + len(WHOLE))
    assert {value.path: value.value for value in reading.values} == event()
    amount = reading.find("amount")
    assert amount is not None
    assert (amount.value, amount.content, amount.start - 5) == (Decimal("12.5000"), b"\x01\xe8\x48", BEFORE_AMOUNT)
    assert reading.values[0].start == 5
    for one, other in zip(reading.values, reading.values[1:], strict=False):
        assert one.end == other.start


def test_version_two_with_its_unions() -> None:
    reading = read_body(body(event(schema_version=2, promo_code=None, sales_channel="web"), V2), V2)
    assert (reading.complete, reading.findings) == (True, ())
    assert [(value.path, value.value) for value in reading.values[-2:]] == [("promo_code", None), ("sales_channel", "web")]


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_each_truncation_names_the_field_and_keeps_what_came_before(length: int) -> None:
    reading = read_body(WHOLE[:length], V1)
    whole = read_body(WHOLE, V1)
    assert not reading.complete
    (finding,) = reading.findings
    assert finding.fault in (Fault.TRUNCATED, Fault.LENGTH_BOMB)
    assert reading.values == whole.values[: len(reading.values)]
    assert finding.path == whole.values[len(reading.values)].path
    assert 0 <= finding.offset <= length


@pytest.mark.parametrize(
    "broken, expected",
    [
        (varint(2**32) + b"abc", (Fault.LENGTH_BOMB, "event_id", 0)),
        (varint(-1) + b"abc", (Fault.NEGATIVE_LENGTH, "event_id", 0)),
        (b"\xff" * 10 + b"\x01", (Fault.INVALID_NUMBER, "event_id", 0)),
        (b"", (Fault.TRUNCATED, "event_id", 0)),
        (WHOLE + b"\x00\x01", (Fault.TRAILING_BYTES, "", len(WHOLE))),
        (WHOLE.replace(b"\x08seat", b"\x08se\xe9t"), (Fault.INVALID_UTF8, "product_id", WHOLE.index(b"seat") + 2)),
    ],
    ids=["length bomb", "negative length", "endless integer", "empty", "trailing", "latin-1"],
)
def test_a_broken_event(broken: bytes, expected: tuple[Fault, str, int]) -> None:
    reading = read_body(broken, V1)
    assert fault(reading) == expected


@pytest.mark.parametrize(
    "fields, data, expected",
    [
        ([("a", ["null", "string"])], b"\x04", (Fault.INVALID_BRANCH, "a", 0)),
        ([("a", ["null", "string"])], b"\x01", (Fault.INVALID_BRANCH, "a", 0)),
        ([("a", {"type": "enum", "name": "E", "symbols": ["X", "Y"]})], b"\x04", (Fault.INVALID_SYMBOL, "a", 0)),
        ([("n", "int"), ("a", "boolean")], b"\x02\x07", (Fault.INVALID_BOOLEAN, "a", 1)),
        ([("a", "int")], varint(2**31), (Fault.INVALID_NUMBER, "a", 0)),
        ([("a", {"type": "array", "items": "null"})], varint(2**40) + b"\x00", (Fault.LENGTH_BOMB, "a", 0)),
        ([("a", {"type": "array", "items": "long"})], b"\x04\x02", (Fault.TRUNCATED, "a[1]", 2)),
        ([("a", {"type": "map", "values": "int"})], b"\x02\x02k", (Fault.TRUNCATED, "a{k}", 3)),
        ([("a", {"type": "fixed", "name": "F", "size": 4})], b"\x00\x01", (Fault.TRUNCATED, "a", 2)),
        ([("a", "double")], b"\x00", (Fault.TRUNCATED, "a", 1)),
        ([("a", "no.such.Type")], b"\x00", (Fault.UNUSABLE_SCHEMA, "a", 0)),
    ],
)
def test_a_broken_value_of_each_type(fields: list[Any], data: bytes, expected: tuple[Fault, str, int]) -> None:
    assert fault(read_body(data, record(*fields))) == expected


def test_named_types_defaults_of_namespaces_and_logical_types() -> None:
    fee = {"type": "fixed", "name": "Fee", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 2}
    place = {"type": "record", "name": "Place", "namespace": "geo", "fields": [{"name": "id", "type": "com.Code"}]}
    schema = {
        "type": "record", "name": "Sale", "namespace": "com",
        "fields": [
            {"name": "code", "type": {"type": "enum", "name": "Code", "symbols": ["A", "B"]}},
            {"name": "again", "type": "Code"},
            {"name": "place", "type": place},
            {"name": "day", "type": {"type": "int", "logicalType": "date"}},
            {"name": "fee", "type": fee},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "far", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        ],
    }  # fmt: skip
    data = b"\x02\x00\x02\x02\xff\x9c" + b"\x01\x04\x02x\x00" + varint(2**62)
    reading = read_body(data, schema)
    assert (reading.complete, reading.findings) == (True, ())
    assert [str(value.value) for value in reading.values] == ["B", "A", "B", "1970-01-02", "-1.00", "x", str(2**62)]


def test_a_type_from_another_subject_is_read_by_its_full_name() -> None:
    named = {
        "com.Channel": {"type": "record", "name": "Channel", "namespace": "com", "fields": [{"name": "id", "type": "int"}]}
    }
    reading = read_body(b"\x02", record(("c", "com.Channel")), named=named)
    assert [(value.path, value.value) for value in reading.values] == [("c.id", 1)]


def test_the_types_of_a_referred_schema_are_found_by_full_name() -> None:
    text = json.dumps({"type": "record", "name": "Channel", "namespace": "com", "fields": [
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["WEB"]}},
        {"name": "more", "type": ["null", {"type": "array", "items": {"type": "fixed", "name": "x.Code", "size": 2}}]},
    ]})  # fmt: skip
    assert set(named_types(text)) == {"com.Channel", "com.Kind", "x.Code"}
    assert named_types("{") == {}
    schema = RegisteredSchema(record(("c", "com.Channel")), references={"com.Channel": text})
    reading = read_value(framed(7, b"\x00\x00"), {7: schema}.get)
    assert reading is not None
    assert [(value.path, value.value) for value in reading.values] == [("c.kind", "WEB"), ("c.more", None)]


def test_a_record_that_contains_itself_neither_recurses_nor_runs_for_ever() -> None:
    tree = record(("child", ["null", "R"]), ("n", "int"))
    assert read_body(b"\x02\x00\x02\x04", tree).complete
    assert fault(read_body(b"\x02" * 100_000, tree))[0] is Fault.TOO_LARGE


def test_random_bytes_and_schemas_that_are_none_never_raise_and_take_no_time() -> None:
    dice, started = random.Random(7), time.monotonic()
    for _ in range(3_000):
        data = bytearray(WHOLE)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        read_body(bytes(data), V1)
        read_body(dice.randbytes(dice.randint(0, 200)), V2)
    for schema in ("{", "[]", "7", '{"type": "record"}', '"x"', '{"type": "fixed", "name": "F", "size": "many"}'):
        assert not read_body(WHOLE, schema).complete
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain café", "plain café"),
        ("\x1b[2Jgone\r\n", "\\x1b[2Jgone\\x0d\\x0a"),
        ("a\u202eb\u200b\u2028\u00a0", "a\\u202eb\\u200b\\u2028\\xa0"),
        (b"caf\xe9", "caf\\xe9"),
        (None, "-"),
        ("\ud800", "\\ud800"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_hostile_text_is_shown_and_has_no_effect(text: str | bytes | None, shown: str) -> None:
    assert visible(text) == shown
    assert visible(text).encode().decode() == shown


def test_markdown_cells_hold_no_markup() -> None:
    assert "|" not in visible_markdown("a|b<script>`[x](y)")
    assert "<" not in visible_markdown("a|b<script>`[x](y)")
    assert shown_bytes(b"\x00\x01") == "00 01 (2 bytes)"
    assert shown_bytes(None) == "none"
