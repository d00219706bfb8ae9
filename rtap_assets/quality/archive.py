"""Copies the topic of quality results into the table `quality.dq_results`, each message once."""

from __future__ import annotations

from rtap_assets.config import Settings
from rtap_assets.quality.results_table import append_results, archived_offsets
from rtap_assets.quality.results_topic import read_results

LIMIT = 20_000
LONGEST_COPY_ROUNDS = 50


def archive_results(settings: Settings) -> int:
    """Append what the topic holds beyond the table; returns the rows appended.

    Safe to repeat and to run twice at once: the position in the topic is committed with the rows.

    Raises:
        DependencyUnavailable: broker, registry or catalog do not answer.
    """
    appended = 0
    for _ in range(LONGEST_COPY_ROUNDS):
        before = archived_offsets(settings)
        batch = read_results(settings, after=before, limit=LIMIT)
        if batch.offsets == before:
            break
        if append_results(settings, batch.results, before=before, after=batch.offsets):
            appended += len(batch.results)
    return appended
