"""How the schemas that producers register are read, or why they are not: the pure judge, many shapes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from event_bytes import V1, V2, event, with_amount, with_field
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.avro.writer_schemas import (
    END_FIELD,
    END_OF_EVENT,
    Contract,
    Decoding,
    Refusal,
    RegisteredSchema,
    judge_schema,
)
from rtap_assets.contracts.rules import Reason

CONTRACT = Contract.of(load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", EVENTS_SUBJECT_FOLDER))
TREE = {
    "type": "record",
    "name": "Category",
    "fields": [{"name": "name", "type": "string"}, {"name": "parent", "type": ["null", "Category"], "default": None}],
}


def verdict(schema: Any, **references: str) -> Decoding | Refusal:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    return judge_schema(RegisteredSchema(text, references=references), CONTRACT)


def changed(field: str, type_: Any = None, *, base: str = V1, **attributes: Any) -> dict[str, Any]:
    """The contract with one field changed."""
    schema: dict[str, Any] = json.loads(base)
    for child in schema["fields"]:
        if child["name"] == field:
            child.update(({} if type_ is None else {"type": type_}) | attributes)
    return schema


def root(**attributes: Any) -> dict[str, Any]:
    """The contract with other attributes of its record; None takes one away."""
    schema = json.loads(V2) | attributes
    return {name: value for name, value in schema.items() if value is not None}


def reordered() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(V2)
    return schema | {"fields": schema["fields"][::-1]}


def without(*fields: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(V2)
    return schema | {"fields": [child for child in schema["fields"] if child["name"] not in fields]}


def extra(type_: Any, name: str = "more", **attributes: Any) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(V2)
    return schema | {"fields": [*schema["fields"], {"name": name, "type": type_} | attributes]}


def nested(levels: int) -> Any:
    type_: Any = "string"
    for level in range(levels):
        type_ = {"type": "record", "name": f"L{level}", "fields": [{"name": "f", "type": type_}]}
    return type_


ACCEPTED: dict[str, Any] = {
    "version 1": V1,
    "version 2": V2,
    "another namespace": root(namespace="com.acme.billing"),
    "no namespace": root(namespace=None),
    "another name with the contract's as alias": root(name="Sale", aliases=["rtap.sales.SalesEvent"]),
    "another order of fields": reordered(),
    "avro.java.string": changed("event_id", {"type": "string", "avro.java.string": "String"}),
    "uuid on a string": changed("event_id", {"type": "string", "logicalType": "uuid"}),
    "bytes for a text": changed("product_id", "bytes"),
    "an enum for a code": changed("region", {"type": "enum", "name": "Region", "symbols": ["emea", "na"]}),
    "a decimal in a fixed": changed(
        "amount", {"type": "fixed", "name": "Money", "size": 12, "logicalType": "decimal", "precision": 18, "scale": 4}
    ),
    "a required field that may be null": changed("region", ["null", "string"]),
    "a nullable enum": changed("region", [{"type": "enum", "name": "R", "symbols": ["emea"]}, "null"]),
    "a union of one": changed("region", ["string"]),
    "an optional field that is always null": changed("promo_code", "null", base=V2),
    "an optional field that is never null": changed("promo_code", "string", base=V2),
    "a renamed field with an alias": changed("product_id", name="sku", aliases=["product_id"]),
    "an unknown logical type": changed("quantity", {"type": "int", "logicalType": "pieces"}),
    "a type in a type": changed("quantity", {"type": {"type": "int"}}),
    "a record that contains itself": extra(["null", TREE]),
    "the event in itself": extra(["null", "SalesEvent"]),
    "names that differ in case alone": extra("double", "Amount"),
    "a name with a dash": extra("string", "x-y z.ß"),
    "the same name twice": root(fields=[*json.loads(V2)["fields"], *[{"name": "a", "type": "int"}] * 2]),
    "a duration": extra({"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}),
    "a decimal of 200 digits": extra({"type": "bytes", "logicalType": "decimal", "precision": 200, "scale": 100}),
    "a decimal without a precision": extra({"type": "bytes", "logicalType": "decimal"}),
    "an empty record": extra({"type": "record", "name": "Nothing", "fields": []}),
    "an enum of 5,000 symbols": extra({"type": "enum", "name": "E", "symbols": [f"S{n}" for n in range(5_000)]}),
    "an enum with odd symbols": extra({"type": "enum", "name": "E", "symbols": ["a-b", "ü", "a-b"]}),
    "maps of arrays of unions of maps": extra(
        {"type": "map", "values": {"type": "array", "items": ["null", "int", {"type": "map", "values": ["string", TREE]}]}}
    ),
    "a union with two enums": extra([{"type": "enum", "name": name, "symbols": ["A"]} for name in ("E", "F")] + ["int"]),
    "a union in a union": extra(["null", ["int", "string"]]),
    "an error type": extra({"type": "error", "name": "Fault", "fields": [{"name": "code", "type": "int"}]}),
    "forty levels of records": extra(nested(40)),
    "defaults that do not fit": extra("int", default="none") | {"doc": 7},
    "fixed of no bytes": extra({"type": "fixed", "name": "Z", "size": 0}),
    "times and dates of all kinds": extra(
        {"type": "record", "name": "Times", "fields": [
            {"name": name.replace("-", "_"), "type": {"type": "long", "logicalType": name}}
            for name in ("timestamp-micros", "timestamp-nanos", "local-timestamp-millis", "time-micros")
        ]}
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[Any, str]] = {
    "cents": (
        with_amount(V1, precision=18, scale=2),
        "$.amount: bytes with logical type decimal(18, 2); the contract wants decimal(18, 4) on bytes, or on a "
        "fixed that is large enough",
    ),
    "another precision": (
        with_amount(V1, precision=20, scale=4),
        "$.amount: bytes with logical type decimal(20, 4); the contract wants decimal(18, 4) on bytes, or on a "
        "fixed that is large enough",
    ),
    "a fixed that cannot hold the precision": (
        changed("amount", {"type": "fixed", "name": "M", "size": 4, "logicalType": "decimal", "precision": 18, "scale": 4}),
        "$.amount: fixed rtap.sales.M with logical type decimal(18, 4); the contract wants decimal(18, 4) on bytes, or on a "
        "fixed that is large enough",
    ),
    "an amount in floating point": (
        changed("amount", "double"),
        "$.amount: double; the contract wants decimal(18, 4) on bytes, or on a fixed that is large enough",
    ),
    "microseconds": (
        changed("event_time", {"type": "long", "logicalType": "timestamp-micros"}),
        "$.event_time: long with logical type timestamp-micros, which counts microseconds; the contract wants long with "
        "logical type timestamp-millis",
    ),
    "a local time": (
        changed("event_time", {"type": "long", "logicalType": "local-timestamp-millis"}),
        "$.event_time: long with logical type local-timestamp-millis, which counts milliseconds of a local clock without a "
        "time zone; the contract wants long with logical type timestamp-millis",
    ),
    "a plain long": (
        changed("event_time", "long"),
        "$.event_time: long; the contract wants long with logical type timestamp-millis",
    ),
    "the logical type beside the type": (
        changed("event_time", "long", logicalType="timestamp-millis"),
        "$.event_time: long; the contract wants long with logical type timestamp-millis (logicalType timestamp-millis "
        "stands beside the type, where Avro ignores it: write it inside the type)",
    ),
    "a long for an int": (
        changed("quantity", "long"),
        "$.quantity: long; the contract wants int without a logical type",
    ),
    "a date for an int": (
        changed("quantity", {"type": "int", "logicalType": "date"}),
        "$.quantity: int with logical type date; the contract wants int without a logical type",
    ),
    "a number for a text": (changed("product_id", "long"), "$.product_id: long; the contract wants a string"),
    "a uuid in a fixed": (
        changed("event_id", {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}),
        "$.event_id: fixed rtap.sales.U with logical type uuid; the contract wants a string",
    ),
    "a required field is missing": (
        without("region"),
        "$.region: the writer's schema has no such field, and the contract has no default for it",
    ),
    "a field in another case": (
        changed("region", name="Region"),
        "$.region: the writer's schema has no such field, and the contract has no default for it; Region is another name, "
        "case counts",
    ),
    "a union of several": (
        changed("region", ["null", "string", "int"]),
        "$.region: a union of null, string, int; the contract wants a string, at most with null beside it",
    ),
    "an optional field with another meaning": (
        with_field(V1, "promo_code", "long"),
        "$.promo_code: long; the contract wants a string",
    ),
    "a renamed field of another type": (
        changed("quantity", "string", name="pieces", aliases=["quantity"]),
        "$.pieces (for quantity): string; the contract wants int without a logical type",
    ),
    "two fields with the alias": (
        without("region") | {"fields": [*without("region")["fields"], *(
            {"name": name, "type": "string", "aliases": ["region"]} for name in ("a", "b")
        )]},
        "$.region: more than one field of the writer stands for it: a, b",
    ),
    "another record": (
        root(name="Invoice"),
        "$: record rtap.sales.Invoice; the contract wants a record named SalesEvent in any namespace, or with that name as "
        "an alias",
    ),
    "an enum with odd symbols": (
        changed("region", {"type": "enum", "name": "R", "symbols": ["north-america"]}),
        "$.region: enum rtap.sales.R, but the symbol 'north-america' is not a name in Avro",
    ),
    "a string": ('"string"', "$: string; the contract wants a record SalesEvent"),
    "a string without quotation marks": ("string", "$: string; the contract wants a record SalesEvent"),
    "a union of records": ([json.loads(V1), TREE], "$: a union of record rtap.sales.SalesEvent, record Category; the "
                           "contract wants a record SalesEvent"),
    "an array": ({"type": "array", "items": "int"}, "$: array; the contract wants a record SalesEvent"),
    "no JSON": ("syntax = 'proto3';", "$: the registered text is not JSON"),
    "no schema": ("{}", "$: {} is not an Avro type"),
    "a type that is not defined": (
        extra("com.acme.Money"),
        "$.more: it uses the type com.acme.Money, which neither the schema nor its references define",
    ),
    "three hundred levels of records": (extra(nested(300)), "levels deep"),
    "a record that cannot end": (
        extra({"type": "record", "name": "Loop", "fields": [{"name": "loop", "type": "Loop"}]}),
        "$: record rtap.sales.SalesEvent always contains itself, so no record of it can end",
    ),
    "items that take no bytes": (
        extra({"type": "array", "items": {"type": "record", "name": "Nothing", "fields": []}}),
        "$.more: an array of items that take no bytes, of which a short body may claim any number",
    ),
    "a fixed of a negative size": (
        extra({"type": "fixed", "name": "N", "size": -1}),
        "$.more: fixed rtap.sales.N has the size -1",
    ),
    "an empty union": (extra([]), "$.more: a union of nothing has no values"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_changes_no_meaning_is_decoded(name: str) -> None:
    found = verdict(ACCEPTED[name])
    assert isinstance(found, Decoding), found
    assert {*found.sources, *found.absent} == {child.name for child in CONTRACT.record.fields}


@pytest.mark.parametrize("name", REFUSED)
def test_what_changes_meaning_is_refused_with_the_place_and_both_sides(name: str) -> None:
    schema, finding = REFUSED[name]
    found = verdict(schema)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.INCOMPATIBLE_SCHEMA
    assert finding in found.finding


@pytest.mark.parametrize("type_", ["JSON", "PROTOBUF"])
def test_a_schema_of_another_language_is_not_avro(type_: str) -> None:
    found = judge_schema(RegisteredSchema('{"type": "object"}', type_), CONTRACT)
    assert found == Refusal(f"the registry has a schema of type {type_} under this id, not Avro", Reason.NOT_AVRO)


@pytest.mark.parametrize("name", [name for name in ACCEPTED if "odd symbols" not in name and "dash" not in name])
def test_every_made_schema_is_valid_for_another_library(name: str) -> None:
    found = verdict(ACCEPTED[name])
    assert isinstance(found, Decoding)
    for text in (found.writer_text, found.reader_text):
        parse_schema(json.loads(text))


def decoded(schema: dict[str, Any] | str, **values: Any) -> dict[str, Any]:
    """The event, written with the registered schema and read with the two that were made, by fastavro."""
    document = json.loads(schema) if isinstance(schema, str) else schema
    found = verdict(document)
    assert isinstance(found, Decoding)
    buffer = io.BytesIO()
    schemaless_writer(buffer, parse_schema(document), event(**values))
    buffer.write(END_OF_EVENT)
    buffer.seek(0)
    writer, reader = (parse_schema(json.loads(text)) for text in (found.writer_text, found.reader_text))
    result: Any = schemaless_reader(buffer, writer, reader)
    assert buffer.read() == b""
    assert result.pop(END_FIELD) == END_OF_EVENT
    return dict(result)


@pytest.mark.parametrize(
    "schema, values",
    [
        (V1, {}),
        (extra(["null", TREE]), {"more": {"name": "a", "parent": {"name": "b", "parent": None}}, "promo_code": "X"}),
        (extra(["null", "SalesEvent"], "parent"), {"parent": None, "promo_code": "X"}),
        (extra({"type": "enum", "name": "E", "symbols": ["A", "B"]}), {"more": "B"}),
        (extra([{"type": "enum", "name": "E", "symbols": ["A", "B"]}, "int", "null"]), {"more": "B"}),
        (extra({"type": "map", "values": ["null", {"type": "array", "items": TREE}]}), {"more": {"k": None, "l": []}}),
        (reordered(), {"sales_channel": "web"}),
    ],
)
def test_fields_that_the_contract_does_not_know_are_read_over(schema: dict[str, Any] | str, values: dict[str, Any]) -> None:
    found = decoded(schema, **values)
    whole = event(**values)
    assert found.pop("amount") == b"\x01\xe8\x48"
    assert found == {name: whole.get(name) for name in found}


def test_an_enum_is_read_as_its_symbol_and_an_alias_as_the_field() -> None:
    assert decoded(ACCEPTED["an enum for a code"])["region"] == "emea"
    assert decoded(ACCEPTED["a renamed field with an alias"], sku="seat")["product_id"] == "seat"


def test_writers_that_differ_in_names_and_docs_alone_share_a_decoder() -> None:
    shapes: list[Callable[[], Any]] = [
        lambda: V2,
        lambda: root(namespace="com.acme", doc="Ours."),
        lambda: changed("event_id", {"type": "string", "logicalType": "uuid"}, base=V2),
        lambda: root(name="Sale", aliases=["SalesEvent"]),
    ]
    assert len({verdict(shape()) for shape in shapes}) == 1


def test_a_type_of_a_reference_is_resolved() -> None:
    schema = extra(["null", "com.acme.Tax"], "tax", default=None)
    tax = {
        "type": "record",
        "name": "Tax",
        "namespace": "com.acme",
        "fields": [{"name": "rate", "type": "com.acme.Rate"}],
    }
    rate = {"type": "fixed", "name": "com.acme.Rate", "size": 4}
    found = judge_schema(
        RegisteredSchema(
            json.dumps(schema), references={"com.acme.Rate": json.dumps(rate), "com.acme.Tax": json.dumps(tax)}
        ),
        CONTRACT,
    )
    assert isinstance(found, Decoding)
    assert found.skipped == ("tax",)
