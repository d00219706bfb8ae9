"""Schemas as other teams register them: whether their records are read, and with which field values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from event_bytes import V1, body, event, varint, with_amount


@dataclass(frozen=True)
class OddSchema:
    """A schema under a subject of its own. `body` is an event written with it, `finding` a part of the refusal."""

    text: str
    body: bytes
    finding: str = ""
    type: str = "AVRO"
    values: dict[str, Any] = field(default_factory=dict)


def _changed(name: str, type_: Any = None, **attributes: Any) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(V1)
    for child in schema["fields"]:
        if child["name"] == name:
            child.update(({} if type_ is None else {"type": type_}) | attributes)
    return schema


def _extra(type_: Any, name: str = "more", **attributes: Any) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(V1)
    return schema | {"fields": [*schema["fields"], {"name": name, "type": type_} | attributes]}


def _read(schema: dict[str, Any], **values: Any) -> OddSchema:
    text = json.dumps(schema)
    return OddSchema(text, body(event(**values), text))


def _read_bytes(schema: dict[str, Any], more: bytes) -> OddSchema:
    """Return a schema that fastavro cannot write with: the field's bytes are put behind an event by hand."""
    return OddSchema(json.dumps(schema), body(event()) + more)


def _refused(schema: dict[str, Any] | str, finding: str, **values: Any) -> OddSchema:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    return OddSchema(text, body(event(**values), V1), finding)


TREE = {
    "type": "record",
    "name": "Category",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "parent", "type": ["null", "Category"], "default": None},
        {"name": "children", "type": {"type": "array", "items": "Category"}, "default": []},
    ],
}
LEAF = {"name": "shoes", "parent": None, "children": []}
ENUM_E = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
ENUM_F = {"type": "enum", "name": "F", "symbols": ["A", "B"]}


def _nested(levels: int) -> tuple[Any, Any]:
    type_: Any = "string"
    value: Any = "deep"
    for level in range(levels):
        type_ = {"type": "record", "name": f"L{level}", "fields": [{"name": "f", "type": type_}]}
        value = {"f": value}
    return type_, value


DEEP_TYPE, DEEP_VALUE = _nested(60)

ODD: dict[str, OddSchema] = {
    "a record that contains itself": _read(
        _extra(["null", TREE], default=None), more=LEAF | {"parent": LEAF, "children": [LEAF, LEAF | {"parent": LEAF}]}
    ),
    "the event in itself": _read(_extra(["null", "SalesEvent"], default=None), more=event(more=None)),
    "two records that contain each other": _read(
        _extra(
            {
                "type": "record",
                "name": "Left",
                "fields": [
                    {
                        "name": "right",
                        "type": [
                            "null",
                            {"type": "record", "name": "Right", "fields": [{"name": "left", "type": ["null", "Left"]}]},
                        ],
                    }
                ],
            }
        ),
        more={"right": {"left": {"right": None}}},
    ),
    "names that differ in case alone": _read(_extra("double", "Amount"), Amount=1.5),
    "another namespace": _read(json.loads(V1) | {"namespace": "com.acme.billing"}),
    "no namespace": _read({name: value for name, value in json.loads(V1).items() if name != "namespace"}),
    "another name, with an alias": _read(json.loads(V1) | {"name": "Sale", "aliases": ["SalesEvent"]}),
    "another order": _read(json.loads(V1) | {"fields": json.loads(V1)["fields"][::-1]}),
    "avro.java.string everywhere": _read(
        json.loads(V1.replace('"string"', '{"type": "string", "avro.java.string": "String"}'))
    ),
    "a uuid": _read(_changed("event_id", {"type": "string", "logicalType": "uuid"})),
    "an enum as code": _read(_changed("region", {"type": "enum", "name": "Region", "symbols": ["na", "emea"]})),
    "a decimal in a fixed": _read(
        _changed(
            "amount", {"type": "fixed", "name": "Money", "size": 9, "logicalType": "decimal", "precision": 18, "scale": 4}
        )
    ),
    "bytes as text": OddSchema(json.dumps(_changed("product_id", "bytes")), body(event())),
    "unions of one": _read(_changed("region", ["string"])),
    "everything may be null": _read(
        json.loads(V1) | {"fields": [child | {"type": ["null", child["type"]]} for child in json.loads(V1)["fields"]]}
    ),
    "a duration": _read(_extra({"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}), more=bytes(12)),
    "unknown logical types": _read(_extra({"type": "long", "logicalType": "furlongs-per-fortnight"}), more=7),
    "an empty record": _read(_extra({"type": "record", "name": "Nothing", "fields": []}), more={}),
    "an enum of 3,000 symbols": _read(
        _extra({"type": "enum", "name": "Many", "symbols": [f"S{number}" for number in range(3_000)]}), more="S2999"
    ),
    "sixty levels of records": _read(_extra(DEEP_TYPE), more=DEEP_VALUE),
    "maps of arrays of unions": _read(
        _extra(
            {"type": "map", "values": {"type": "array", "items": ["null", "int", TREE, {"type": "map", "values": "bytes"}]}}
        ),
        more={"a": [None, 5, LEAF, {"b": b"\x00"}], "c": []},
    ),
    "a union of enums and records": _read(_extra(["null", ENUM_E, ENUM_F, TREE, "long"]), more=2**40),
    "a wide decimal": _read_bytes(
        _extra({"type": "bytes", "logicalType": "decimal", "precision": 77, "scale": 30}), varint(2) + b"\x01\x02"
    ),
    "nanoseconds and local times": _read_bytes(
        _extra(
            {
                "type": "record",
                "name": "Times",
                "fields": [
                    {"name": name.replace("-", "_"), "type": {"type": "long", "logicalType": name}}
                    for name in ("timestamp-nanos", "local-timestamp-micros", "time-micros")
                ],
            }
        ),
        varint(1) + varint(-2) + varint(3),
    ),
    "fields named like ours of the decoder": _read(_extra("int", "end_of_event"), end_of_event=3),
    "a field named skip_1": _read(_extra("int", "skip_1"), skip_1=3),
    "cents": _refused(with_amount(V1, precision=18, scale=2), "decimal(18, 2)"),
    "microseconds": _refused(_changed("event_time", {"type": "long", "logicalType": "timestamp-micros"}), "microseconds"),
    "a local time": _refused(
        _changed("event_time", {"type": "long", "logicalType": "local-timestamp-millis"}), "local clock"
    ),
    "a plain long as time": _refused(_changed("ingest_time", "long"), "$.ingest_time: long; the contract wants"),
    "quantity as long": _refused(_changed("quantity", "long"), "$.quantity: long"),
    "region is missing": _refused(
        json.loads(V1) | {"fields": [child for child in json.loads(V1)["fields"] if child["name"] != "region"]},
        "$.region: the writer's schema has no such field",
    ),
    "a union of texts and numbers": _refused(_changed("region", ["null", "string", "int"]), "$.region: a union of"),
    "another record": _refused(json.loads(V1) | {"name": "Invoice"}, "record rtap.sales.Invoice"),
    "a root that is no record": _refused('{"type": "array", "items": "string"}', "$: array"),
    "a root that is a string": _refused('"string"', "$: string"),
    "items that take no bytes": _refused(_extra({"type": "array", "items": "null"}), "take no bytes"),
    "a record that cannot end": _refused(
        _extra({"type": "record", "name": "Loop", "fields": [{"name": "loop", "type": "Loop"}]}), "always contains itself"
    ),
}
JSON_SCHEMA = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": "SalesEvent"})
PROTOBUF_SCHEMA = 'syntax = "proto3";\nmessage SalesEvent {\n  string event_id = 1;\n}\n'
OTHER_LANGUAGES = {
    "JSON": OddSchema(JSON_SCHEMA, b'{"event_id": "x"}', "type JSON", "JSON"),
    "PROTOBUF": OddSchema(PROTOBUF_SCHEMA, b"\x00\x0a\x01x", "type PROTOBUF", "PROTOBUF"),
}
