"""How values cross the wire: JSON, its schema and back, all from the fields of a dataclass. No Spark, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Self, get_type_hints

from pydantic import AfterValidator, PlainSerializer, TypeAdapter, WithJsonSchema

REFERENCE = "#/components/schemas/{model}"
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def as_text(instant: datetime) -> str:
    """Return the instant as ISO 8601 in UTC."""
    return instant.astimezone(UTC).isoformat()


def as_instant(text: str) -> datetime:
    """Return the instant that `as_text` wrote, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


Instant = Annotated[
    datetime,
    AfterValidator(lambda instant: instant.astimezone(UTC)),
    PlainSerializer(as_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


@dataclass(frozen=True)
class Shown:
    """How a field is shown beside its JSON: the sentence that describes it, its metric, its label in Dagster."""

    doc: str
    metric: str | None = None
    label: str | None = None


class Wire:
    """A dataclass that crosses the wire. Unknown fields of a newer version are ignored; missing ones need a default."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON: instants as ISO 8601 in UTC, enums by their values."""
        document: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the value that `to_json` wrote."""
        names = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        found: Self = _adapter(cls).validate_python({name: document[name] for name in names & document.keys()})
        return found

    @classmethod
    def shown(cls) -> dict[str, Shown]:
        """Return field -> how it is shown, for the fields that say so."""
        hints = get_type_hints(cls, include_extras=True)
        return {
            name: one for name, hint in hints.items() for one in getattr(hint, "__metadata__", ()) if isinstance(one, Shown)
        }

    @classmethod
    def schemas(cls) -> dict[str, Any]:
        """Return name -> JSON schema, of this value and of those it is made of."""
        own = _adapter(cls).json_schema(ref_template=REFERENCE, mode="serialization")
        others = own.pop("$defs", {})
        for name, one in cls.shown().items():
            own["properties"][name]["description"] = one.doc
        return {cls.__name__: own, **others}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
