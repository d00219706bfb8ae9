"""A contract without a registry, and small runs of the generator's pure core."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject, parsed
from rtap_assets.generator.bad_records import Contract
from rtap_assets.generator.chunks import Chunk, make_chunks
from rtap_assets.generator.encoding import physical
from rtap_assets.generator.events import WriterIds
from rtap_assets.generator.options import GeneratorOptions

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
IDS = WriterIds({1: 11, 2: 12}, incompatible=14, foreign=13, other_team={1: 15, 2: 16})
MAX_EVENT_BYTES = 131_072
PAST_MS = 30 * 86_400_000

VERSIONS = load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", EVENTS_SUBJECT_FOLDER)
WRITER_SCHEMAS: dict[int, dict[str, Any]] = {version.version: parsed(version.text) for version in VERSIONS}
CONTRACT = Contract(
    schemas={number: physical(schema) for number, schema in WRITER_SCHEMAS.items()},
    ids=IDS,
    max_event_bytes=MAX_EVENT_BYTES,
    event_time_past_ms=PAST_MS,
)


def chunks_of(options: GeneratorOptions, **inputs: Any) -> list[Chunk]:
    """Return the whole run, made at noon."""
    return list(make_chunks(options, **({"start_time": START, "contract": CONTRACT} | inputs)))
