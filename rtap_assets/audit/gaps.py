"""Offsets that are recorded as given to nobody (`quality.offset_gaps`), as the audit's table `gaps`."""

from __future__ import annotations

import duckdb

from rtap_assets.config import Settings


def load_gaps(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Fill `gaps` with what is recorded for the events topic."""
    connection.execute("DELETE FROM gaps")
    del settings  # nothing records gaps yet
