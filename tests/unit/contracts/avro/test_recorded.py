"""What encoders of five languages wrote is what the events say, read with fastavro."""

from __future__ import annotations

import io
import json

from fastavro import parse_schema, schemaless_reader
from recorded import SINCE_VERSION_2, recorded, schema_texts

LIBRARIES = {
    "go-goavro",
    "go-hamba",
    "java-avro",
    "javascript-avsc",
    "python-avro",
    "python-fastavro",
    "rust-apache-avro",
}


def test_every_library_wrote_every_event_with_every_schema() -> None:
    found = {(record.library, record.schema, record.case) for record in recorded()}
    cases = {case for _, _, case in found}
    expected = {(library, schema, case) for library in LIBRARIES for schema in schema_texts() for case in cases}
    assert {"zero", "1970", "far ahead"} < cases
    assert expected - found == {("go-goavro", "fixed", "zero")}
    assert len(found) == len(recorded())


def test_every_body_stands_for_its_event() -> None:
    schemas = {name: parse_schema(json.loads(text), named_schemas={}) for name, text in schema_texts().items()}
    for record in recorded():
        body = io.BytesIO(record.body)
        read = schemaless_reader(body, schemas[record.schema], None)
        assert body.read() == b""
        assert dict.fromkeys(SINCE_VERSION_2) | read == record.event, record


def test_amounts_come_in_several_widths_and_zero_as_no_bytes() -> None:
    plain = json.loads(schema_texts()["1"])
    for field in plain["fields"]:
        if field["name"] == "amount":
            field["type"] = "bytes"
    schema = parse_schema(plain, named_schemas={})
    widths: dict[str, set[int]] = {}
    for record in recorded():
        if record.schema == "1":
            amount = schemaless_reader(io.BytesIO(record.body), schema, None)["amount"]
            widths.setdefault(record.case, set()).add(len(amount))
    assert widths["zero"] == {0, 1}
    assert widths["-0.0128"] == {1, 2}
