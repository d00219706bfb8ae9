"""The demo's proof: the audit of `rtap reconcile`, plus the dead-letter topic against bronze's quarantined rows."""

from __future__ import annotations

import duckdb

from rtap_assets.audit.audit import audit
from rtap_assets.audit.report import Line, Report, Section
from rtap_assets.audit.topic import Progress
from rtap_assets.config import Settings
from rtap_assets.kafka.dead_letters import DeadLetter, dead_letters
from rtap_assets.streaming.checkpoints.files import newest_committed
from rtap_assets.streaming.queries.definitions import SILVER_STREAM

LEAST_SILVER_BATCHES = 8


def prove(settings: Settings, *, progress: Progress = lambda _what, _done, _all: None) -> Report:
    """Audit every layer, and the dead-letter topic against bronze; needs the broker."""
    published = dead_letters(settings)

    def against_dead_letters(connection: duckdb.DuckDBPyConnection) -> Section:
        rows = connection.execute(
            "SELECT topic, kafka_partition, kafka_offset, error_reason FROM bronze_rows WHERE error_reason IS NOT NULL"
        ).fetchall()
        expected = {DeadLetter(*row) for row in rows}
        name = "quarantined = dead letters, by identity"
        return Section("Dead-letter topic", (Line(name, str(len(expected)), str(len(published)), expected == published),))

    return audit(settings, progress=progress, extra=(against_dead_letters,))


def silver_batches(settings: Settings) -> int:
    """Return how many batches silver has committed."""
    newest = newest_committed(SILVER_STREAM.checkpoint(settings))
    return 0 if newest is None else newest + 1
