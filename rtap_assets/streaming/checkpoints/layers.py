"""Tables in place and checkpoints owned: what every command and asset that moves data opens first."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TABLES, TableSpec
from rtap_assets.lake.table_changes import note_changes
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.checkpoints.ownership import owned_checkpoints

LOG = logging.getLogger(__name__)


@contextmanager
def open_layers(session: SparkSession, settings: Settings, *, doomed: Sequence[TableSpec] = ()) -> Iterator[SparkSession]:
    """Own the checkpoints and make sure that the tables exist, for the time of the block.

    Changes that others made to the tables since the last time are written down and logged. `doomed` tables are to be
    dropped and built again: they are left as they are.

    Raises:
        StreamError: another process owns the checkpoints.
        ContractError: a table's column has another type than its spec.
        DependencyUnavailable: the catalog does not answer.
    """
    with owned_checkpoints(session, settings):
        for change in note_changes(settings, now=utc_now()):
            LOG.warning("changed by another program: %s", change.sentence)
        ensure_tables(session, settings.catalog_name, specs=[spec for spec in TABLES if spec not in doomed])
        yield session
