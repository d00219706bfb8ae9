"""Which schema each id names, as the audit asks for it: from the registry, by id, once, with what it refers to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastavro import parse_schema

from rtap_assets.audit.judging import Writer, neutral
from rtap_assets.config import Settings
from rtap_assets.contracts.compatibility import contract_breaks
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.tables import EVENT_COLUMNS
from rtap_assets.errors import ContractError
from rtap_assets.kafka.registry import Registry


class WriterSchemas:
    """The writers by schema id; each id is asked for once."""

    def __init__(self, settings: Settings, *, text_of: Callable[[int], str | None] | None = None) -> None:
        self._text_of = text_of or registered_texts(settings)
        self._contract = [version.text for version in load_subject(settings.schemas_dir, EVENTS_SUBJECT_FOLDER)]
        self._known: dict[int, Writer] = {}

    def of(self, schema_id: int) -> Writer:
        """The schema that the id names, or why the contract does not read it.

        Raises:
            DependencyUnavailable: the registry did not answer.
        """
        if schema_id not in self._known:
            self._known[schema_id] = self._judge(self._text_of(schema_id))
        return self._known[schema_id]

    def _judge(self, text: str | None) -> Writer:
        if text is None:
            return Writer(refusal=Reason.UNKNOWN_SCHEMA_ID)
        if any((*contract_breaks(text, ours), *contract_breaks(ours, text)) for ours in self._contract):
            return Writer(refusal=Reason.INCOMPATIBLE_SCHEMA)
        schema = json.loads(text)
        try:
            parsed: Any = parse_schema(neutral(schema))
        except Exception as error:
            raise ContractError(
                f"The audit cannot read a schema that the contract accepts: {error}.",
                remedy="Report it with the schema's text; the streams are not affected.",
            ) from error
        return Writer(schema=parsed, names=_names(schema))


def registered_texts(settings: Settings) -> Callable[[int], str | None]:
    """What the registry holds for an id of the topic's subject; None where it holds nothing."""
    versions = Registry(settings).versions(f"{settings.topic_events}-value")
    return versions.get


def _names(schema: dict[str, Any]) -> dict[str, str]:
    """The contract's fields that the writer has -> their names in it."""
    written = {field["name"] for field in schema["fields"]}
    return {column.name: column.name for column in EVENT_COLUMNS if column.name in written}
