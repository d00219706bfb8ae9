"""Tables in place and checkpoints owned: what every command and asset that moves data opens first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.streaming.ownership import owned_checkpoints


@contextmanager
def open_layers(session: SparkSession, settings: Settings) -> Iterator[SparkSession]:
    """Own the checkpoints and make sure that the tables exist, for the time of the block.

    Raises:
        StreamError: another process owns the checkpoints.
        ContractError: a table's column has another type than its spec.
    """
    with owned_checkpoints(session, settings):
        ensure_tables(session, settings.catalog_name)
        yield session
