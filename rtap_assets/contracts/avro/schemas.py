"""The Avro schemas in the repository: `<schemas_dir>/<subject>/<version>.avsc`, and checksums of the published ones.

A version listed in `published.sha256` is never edited: records written with it are kept forever.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastavro import parse_schema
from fastavro.schema import SchemaParseException, UnknownType

from rtap_assets.errors import ContractError

PUBLISHED_SUMS = "published.sha256"
EVENTS_SUBJECT_FOLDER = "sales.events.v1-value"
REVENUE_SUBJECT_FOLDER = "sales.agg.revenue_5m.v1-value"
DQ_SUBJECT_FOLDER = "dq.results.v1-value"


@dataclass(frozen=True)
class SchemaVersion:
    """One version of a subject's schema, with the text of its file."""

    subject: str
    version: int
    path: Path
    text: str


def parsed(text: str) -> dict[str, Any]:
    """Return the Avro schema of `text`, validated, with full names everywhere.

    Raises:
        ContractError: the text is not JSON, or not a valid Avro schema.
    """
    try:
        schema: dict[str, Any] = parse_schema(json.loads(text), named_schemas={}, _write_hint=False)
    except (ValueError, TypeError, KeyError, SchemaParseException, UnknownType) as error:
        raise ContractError(f"Not a valid Avro schema: {type(error).__name__}: {error}") from error
    return schema


def subjects(schemas_dir: Path) -> list[str]:
    """Return the subjects that have a folder, sorted."""
    return sorted(folder.name for folder in schemas_dir.iterdir() if folder.is_dir())


def load_subject(schemas_dir: Path, subject: str) -> list[SchemaVersion]:
    """Return the versions of a subject, oldest first.

    Raises:
        ContractError: the folder is missing, a file name is not a number, or the numbers are not 1, 2, 3 …
    """
    paths = sorted((schemas_dir / subject).glob("*.avsc"), key=_version_of)
    if [_version_of(path) for path in paths] != list(range(1, len(paths) + 1)) or not paths:
        raise ContractError(
            f"The versions of {schemas_dir / subject} are {[path.name for path in paths]}.",
            remedy="Name the files 1.avsc, 2.avsc, 3.avsc and so on, without a gap.",
        )
    return [SchemaVersion(subject, _version_of(path), path, path.read_text(encoding="utf-8")) for path in paths]


def publication_breaks(schemas_dir: Path) -> list[str]:
    """Return the faults of published versions: edited, missing, or present but not listed."""
    expected = _published_sums(schemas_dir)
    actual = {
        path.relative_to(schemas_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(schemas_dir.glob("*/*.avsc"))
    }
    breaks = [f"{name}: published, and now missing; put it back" for name in sorted(expected.keys() - actual.keys())]
    for name, digest in actual.items():
        if name not in expected:
            breaks.append(
                f"{name}: not published yet; when it is final, add the line `{digest}  {name}` to {PUBLISHED_SUMS}"
            )
        elif expected[name] != digest:
            breaks.append(f"{name}: edited after it was published; restore it and write the change as a new version")
    return breaks


def _published_sums(schemas_dir: Path) -> dict[str, str]:
    path = schemas_dir / PUBLISHED_SUMS
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines if line.strip())}


def _version_of(path: Path) -> int:
    if not path.stem.isdecimal():
        raise ContractError(f"{path} is not named after a version.", remedy="Name it <version>.avsc, for example 3.avsc.")
    return int(path.stem)
