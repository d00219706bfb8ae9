"""The records of `tests/data/recorded`: what libraries of several languages make of the same events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rtap_assets.config import PROJECT_ROOT

FOLDER = Path(__file__).parents[1] / "data" / "recorded"
PUBLISHED = PROJECT_ROOT / "rtap_assets" / "schemas" / "sales.events.v1-value"
SCHEMAS = {"1": PUBLISHED / "1.avsc", "2": PUBLISHED / "2.avsc", "fixed": FOLDER / "fixed.avsc"}
SINCE_VERSION_2 = ("promo_code", "sales_channel")


@dataclass(frozen=True)
class Recorded:
    """One record: which library wrote which event with which schema, and the body that it made."""

    library: str
    schema: str
    case: str
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """Return the event that the body stands for; a field that the schema lacks is None."""
        values = _CASES[self.case]
        times = {name: datetime.fromisoformat(values[name]).astimezone(UTC) for name in ("event_time", "ingest_time")}
        version = 1 if self.schema == "1" else 2
        lacking = dict.fromkeys(SINCE_VERSION_2) if version == 1 else {}
        return values | times | {"amount": Decimal(values["amount"]), "schema_version": version} | lacking


def schema_texts() -> dict[str, str]:
    """Return the writers' schemas by name."""
    return {name: path.read_text(encoding="utf-8") for name, path in SCHEMAS.items()}


def recorded() -> list[Recorded]:
    """Return all records."""
    return list(_read())


def _read() -> Iterator[Recorded]:
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            yield Recorded(path.stem, line["schema"], line["case"], bytes.fromhex(line["body"]))


_CASES: dict[str, dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))
