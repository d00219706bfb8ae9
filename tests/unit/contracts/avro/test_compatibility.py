"""Which changes of a schema keep the meaning of every datum, and which do not: Avro's resolution rules, and stricter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.avro.compatibility import check_subject, contract_breaks
from rtap_assets.contracts.avro.schemas import SchemaVersion, load_subject, subjects

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
NO_DEFAULT = object()


def decimal(precision: int, scale: int | None) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision} | ({} if scale is None else {"scale": scale})


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "Colour", "symbols": list(symbols)} | more


def fixed(size: int, name: str = "Digest") -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size}


def record(*fields: dict[str, Any], name: str = "Event", **more: Any) -> str:
    return json.dumps({"type": "record", "name": name, "namespace": "test", "fields": list(fields)} | more)


def field(kind: Any, *, name: str = "value", default: Any = NO_DEFAULT, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind} | ({} if default is NO_DEFAULT else {"default": default}) | more


NESTED = {"type": "record", "name": "Inner", "fields": [{"name": "amount", "type": decimal(18, 4)}]}
NESTED_WITH_SCALE_2 = {"type": "record", "name": "Inner", "fields": [{"name": "amount", "type": decimal(18, 2)}]}

READABLE = {
    "the same type": ("string", "string"),
    "int as long": ("int", "long"),
    "int as double": ("int", "double"),
    "float as double": ("float", "double"),
    "string as bytes": ("string", "bytes"),
    "a member of the reader's union": ("string", ["null", "string"]),
    "a member of the reader's union after promotion": ("int", ["null", "long"]),
    "a union as a wider one": (["null", "string"], ["null", "string", "int"]),
    "a union of one as that one": (["string"], "string"),
    "the same decimal": (decimal(18, 4), decimal(18, 4)),
    "a decimal whose scale of 0 is left out": (decimal(18, 0), decimal(18, None)),
    "the same time unit": (MILLIS, MILLIS),
    "an enum with more symbols": (enum("red"), enum("red", "green")),
    "an enum in another order": (enum("red", "green"), enum("green", "red")),
    "a fixed of the same size": (fixed(16), fixed(16)),
    "an array after promotion": ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}),
    "a map after promotion": ({"type": "map", "values": "float"}, {"type": "map", "values": "double"}),
    "a nested record": (NESTED, NESTED),
}
NOT_READABLE = {
    "long as int": ("long", "int"),
    "double as float": ("double", "float"),
    "string as int": ("string", "int"),
    "boolean as int": ("boolean", "int"),
    "long as double, which loses digits": ("long", "double"),
    "int as float, which loses digits": ("int", "float"),
    "bytes as string, which need not be UTF-8": ("bytes", "string"),
    "a union with a member the reader lacks": (["null", "string"], "string"),
    "no member of the reader's union": ("boolean", ["null", "string"]),
    "a decimal of smaller scale": (decimal(18, 4), decimal(18, 2)),
    "a decimal of larger scale": (decimal(18, 2), decimal(18, 4)),
    "a decimal of smaller precision": (decimal(18, 4), decimal(10, 4)),
    "a decimal of larger precision": (decimal(18, 4), decimal(28, 4)),
    "a decimal as plain bytes": (decimal(18, 4), "bytes"),
    "a decimal in a union, with another scale": (["null", decimal(18, 4)], ["null", decimal(18, 2)]),
    "millis as micros": (MILLIS, MICROS),
    "a time as a plain number": (MILLIS, "long"),
    "a plain number as a time": ("long", MILLIS),
    "an int as a time": ("int", MILLIS),
    "a text as a UUID": ("string", {"type": "string", "logicalType": "uuid"}),
    "an enum with fewer symbols": (enum("red", "green"), enum("red")),
    "an enum symbol that falls back to a default": (enum("red", "green"), enum("red", default="red")),
    "an enum of another name": (enum("red"), enum("red") | {"name": "Shade"}),
    "a fixed of another size": (fixed(16), fixed(8)),
    "a fixed of another name": (fixed(16), fixed(16, name="Checksum")),
    "an array of something else": ({"type": "array", "items": "string"}, {"type": "array", "items": "int"}),
    "an array as a map": ({"type": "array", "items": "string"}, {"type": "map", "values": "string"}),
    "a nested record with another scale": (NESTED, NESTED_WITH_SCALE_2),
}


@pytest.mark.parametrize("writer, reader", READABLE.values(), ids=READABLE.keys())
def test_is_read_with_the_same_meaning(writer: Any, reader: Any) -> None:
    assert contract_breaks(record(field(writer)), record(field(reader))) == []


@pytest.mark.parametrize("writer, reader", NOT_READABLE.values(), ids=NOT_READABLE.keys())
def test_is_a_break(writer: Any, reader: Any) -> None:
    assert contract_breaks(record(field(writer)), record(field(reader))) != []


def test_a_break_names_the_field_and_both_sides() -> None:
    breaks = contract_breaks(record(field(decimal(18, 4), name="amount")), record(field(decimal(18, 2), name="amount")))
    assert breaks == ["$.amount: scale 4 in the writer, 2 in the reader"]


def test_fields_that_only_the_writer_has_are_skipped() -> None:
    assert contract_breaks(record(field("int"), field("string", name="extra")), record(field("int"))) == []


def test_a_field_that_only_the_reader_has_needs_a_default() -> None:
    writer = record(field("int"))
    assert contract_breaks(writer, record(field("int"), field("string", name="extra"))) == [
        "$.extra: missing in the writer, and the reader has no default"
    ]
    assert contract_breaks(writer, record(field("int"), field(["null", "string"], name="extra", default=None))) == []


def test_a_renamed_field_or_record_is_found_by_its_alias() -> None:
    assert contract_breaks(record(field("int")), record(field("long", name="renamed", aliases=["value"]))) == []
    assert contract_breaks(record(field("int")), record(field("int"), name="Sale", aliases=["Event"])) == []
    assert contract_breaks(record(field("int")), record(field("int"), name="Sale")) != []


def test_a_record_that_contains_itself_is_compared_once() -> None:
    tree = record(field("int"), field(["null", "Event"], name="next", default=None))
    assert contract_breaks(tree, tree) == []


def test_a_named_type_is_compared_where_it_is_used_by_name() -> None:
    writer = record(field(fixed(16), name="first"), field("Digest", name="second"))
    reader = record(field(fixed(8), name="first"), field("Digest", name="second"))
    assert [text.split(":")[0] for text in contract_breaks(writer, reader)] == ["$.first", "$.second"]


@pytest.mark.parametrize("text", ["", "not json", '{"type": "record"}', '{"type": "nothing"}', "17", "null"])
def test_a_text_that_is_no_schema_is_a_break_and_not_an_exception(text: str) -> None:
    assert contract_breaks(text, record(field("int")))[0].startswith("writer: ")
    assert contract_breaks(record(field("int")), text)[0].startswith("reader: ")


def versions_of(*texts: str) -> list[SchemaVersion]:
    return [SchemaVersion("test-value", number, Path(f"{number}.avsc"), text) for number, text in enumerate(texts, start=1)]


def documented(kind: Any, **more: Any) -> dict[str, Any]:
    return field(kind, doc="What it is.", **more)


def test_versions_are_compared_with_all_others_in_both_directions() -> None:
    first = record(documented("int"))
    optional = documented(["null", "string"], name="extra", default=None)
    third = record(documented("int"), documented(["null", "int"], name="extra", default=None))
    findings = check_subject(versions_of(first, record(documented("int"), optional), third))
    assert {finding.split(": $")[0] for finding in findings} == {"test-value: 2 read as 3", "test-value: 3 read as 2"}


def test_a_new_field_must_be_optional_with_null_as_default() -> None:
    first = record(documented("int"))
    assert check_subject(versions_of(first, record(documented("int"), documented("int", name="extra", default=0)))) == [
        'test-value: 2: extra: a new field must be ["null", T] with default null'
    ]
    second = record(documented("int"), documented(["null", "int"], name="extra", default=None))
    assert check_subject(versions_of(first, second)) == []


def test_a_removed_field_that_older_readers_need_is_found() -> None:
    findings = check_subject(
        versions_of(record(documented("int"), documented("int", name="gone")), record(documented("int")))
    )
    assert findings == ["test-value: 2 read as 1: $.gone: missing in the writer, and the reader has no default"]


def test_a_field_without_doc_and_an_invalid_version_are_found() -> None:
    assert check_subject(versions_of(record(field("int")))) == ["test-value: 1: value: has no doc"]
    assert check_subject(versions_of("{}"))[0].startswith("test-value: 1: Not a valid Avro schema")


@pytest.mark.parametrize("subject", subjects(PROJECT_ROOT / "rtap_assets" / "schemas"))
def test_the_schemas_of_the_repository_keep_the_contract(subject: str) -> None:
    assert check_subject(load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", subject)) == []
