"""Looks up each writer's schema for the audit: from the registry, once, with its references."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastavro import parse_schema

from rtap_assets.audit.judging import Writer
from rtap_assets.config import Settings
from rtap_assets.contracts.avro.known_writers import may_exist
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.avro.writer_schemas import END_FIELD, Contract, Decoding, Refusal, RegisteredSchema, judge_schema
from rtap_assets.contracts.rules import Reason
from rtap_assets.errors import ContractError
from rtap_assets.registry.client import Registry
from rtap_assets.streaming.queries.schema_findings import read_judgments

Ask = Callable[[str], RegisteredSchema | None]


class WriterSchemas:
    """The writer schemas by writer key (`contracts/avro/known_writers.py`), each looked up once.

    The contract's own code decides whether a schema is accepted; another library decodes the bytes.
    """

    def __init__(self, settings: Settings, *, ask: Ask | None = None) -> None:
        self._ask = ask or registered(settings)
        self._contract = Contract.of(load_subject(settings.schemas_dir, EVENTS_SUBJECT_FOLDER))
        self._known: dict[str, Writer] = {}

    def of(self, key: str) -> Writer:
        """Return the schema that the key names, or why its records are refused.

        Raises:
            DependencyUnavailable: the registry did not answer.
        """
        if key not in self._known:
            self._known[key] = self._judged(self._ask(key) if may_exist(key) else None)
        return self._known[key]

    def _judged(self, schema: RegisteredSchema | None) -> Writer:
        if schema is None:
            return Writer(refusal=Reason.UNKNOWN_SCHEMA_ID)
        verdict = judge_schema(schema, self._contract)
        if isinstance(verdict, Refusal):
            return Writer(refusal=verdict.reason)
        try:
            return Writer(schema=_parsed(schema.text, schema.references), names=verdict.sources)
        except Exception:
            return Writer(schema=_plain(verdict), names={name: name for name in verdict.sources})


def registered(settings: Settings) -> Ask:
    """Return a look-up in the registry that falls back to the schemas kept by bronze's stream for deleted ones."""
    registry, kept = Registry(settings), read_judgments(settings)

    def ask(key: str) -> RegisteredSchema | None:
        found = registry.schema(key)
        return kept[key].schema if found is None and key in kept else found

    return ask


def _parsed(text: str, references: Mapping[str, str]) -> Any:
    named: dict[str, Any] = {}
    for reference in references.values():
        parse_schema(_neutral(json.loads(reference)), named_schemas=named)
    return parse_schema(_neutral(json.loads(text)), named_schemas=named)


def _plain(decoding: Decoding) -> Any:
    """Return the writer's schema as rewritten for decoders: the same layout under other names."""
    schema = json.loads(decoding.writer_text)
    schema["fields"] = [field for field in schema["fields"] if field["name"] != END_FIELD]
    try:
        return parse_schema(_neutral(schema))
    except Exception as error:
        raise ContractError(
            f"The audit cannot read a schema that the contract accepts: {error}.",
            remedy="Please report it with the schema's text; the streams are not affected.",
        ) from error


def _neutral(schema: Any) -> Any:
    """Return the schema with the same bytes and no interpretation: no logical types, every string as bytes.

    Invalid UTF-8, or a decimal beyond its precision, then does not raise in the library but is judged here.
    """
    if isinstance(schema, str):
        return "bytes" if schema == "string" else schema
    if isinstance(schema, list):
        branches = [_neutral(branch) for branch in schema]
        # A union cannot have two branches of type bytes: the text keeps its type there.
        return branches if branches.count("bytes") < 2 else [b if b == "string" else _neutral(b) for b in schema]
    kind = schema["type"]
    if isinstance(kind, dict | list) or kind in ("string", "bytes"):
        return _neutral(kind)
    parts = {name: _neutral(schema[name]) for name in ("items", "values") if name in schema}
    if "fields" in schema:
        parts["fields"] = [{"name": field["name"], "type": _neutral(field["type"])} for field in schema["fields"]]
    names = {name: schema[name] for name in ("name", "namespace", "aliases", "symbols", "size") if name in schema}
    return {"type": kind, **names, **parts}
