"""What was found of each writer's schema, kept on disk: a registry that gives an id to another schema is noticed by it.

One small JSON file, replaced atomically: writer key -> the schema with its references, the verdict in words, and when. The
schema is kept too, so that records of an id that was deleted from the registry since can still be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.writer_schemas import Refusal, RegisteredSchema, Verdict
from rtap_assets.errors import StreamError
from rtap_assets.runtime.files import write_json
from rtap_assets.streaming.model.wire import as_text

FILE = "writer_schemas.json"


@dataclass(frozen=True)
class Judgment:
    """A schema as it was when it was judged, the finding (empty: it is decoded), and when that was."""

    schema: RegisteredSchema
    finding: str
    at: str

    @classmethod
    def of(cls, schema: RegisteredSchema, verdict: Verdict, at: datetime) -> Judgment:
        return cls(schema, verdict.finding if isinstance(verdict, Refusal) else "", as_text(at))


def fingerprint(schema: RegisteredSchema) -> str:
    """Return a sum over what the schema says; how it is laid out in lines plays no part."""
    parts = [schema.type, _plain(schema.text), {name: _plain(text) for name, text in schema.references.items()}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def judgments_path(settings: Settings) -> Path:
    return settings.streams_dir / FILE


def read_judgments(settings: Settings) -> dict[str, Judgment]:
    """Return what is kept, by writer key; {} when nothing is.

    Raises:
        StreamError: the file cannot be read.
    """
    path = judgments_path(settings)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {key: Judgment(RegisteredSchema(**one["schema"]), one["finding"], one["at"]) for key, one in document.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StreamError(
            f"{path} cannot be read: {error}.",
            remedy="Restore it from a backup, or remove it: the registry's answers then count as new.",
        ) from error


def write_judgments(settings: Settings, judgments: Mapping[str, Judgment]) -> None:
    """Replace what is kept."""
    write_json(judgments_path(settings), {key: asdict(one) for key, one in judgments.items()}, durable=True)


def forget_judgments(settings: Settings, keys: Iterable[str] | None) -> list[str]:
    """Drop what is kept of the keys, of all for None, and return the keys that were dropped."""
    kept = read_judgments(settings)
    dropped = [key for key in kept if keys is None or key in set(keys)]
    write_judgments(settings, {key: one for key, one in kept.items() if key not in dropped})
    return dropped
