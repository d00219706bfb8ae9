"""What every part of a correction needs: who asks, with which session, and how gold is paused meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.table_lock import locked_table
from rtap_assets.runtime.clock import utc_now

SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property."


def nothing(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class CorrectionRun:
    """One run of corrections. The caller owns the checkpoints (`open_layers`).

    `pause` stops the named stream between batches for the time of a block; where nothing runs, it needs to do nothing.
    `on_step` is called with the name of each step once it is durable.
    """

    session: SparkSession
    settings: Settings
    requested_by: str = "command"
    run_id: str = field(default_factory=lambda: uuid4().hex[:12])
    pause: Callable[[str], AbstractContextManager[object]] = nullcontext
    echo: Callable[[str], None] = nothing
    on_step: Callable[[str], None] = nothing
    clock: Callable[[], datetime] = utc_now

    def table(self, spec: TableSpec) -> DataFrame:
        """The table's newest snapshot."""
        return self.session.table(self.name(spec))

    def name(self, spec: TableSpec) -> str:
        """The table's name in Spark."""
        return f"{self.settings.catalog_name}.{spec.identifier}"

    def locked(self, spec: TableSpec) -> AbstractContextManager[None]:
        """Keep maintenance and other corrections from the table for the time of the block.

        Raises:
            StreamError: another one has held it for long.
        """
        return locked_table(self.settings, spec.identifier)


def stamped_session(session: SparkSession, properties: Mapping[str, str]) -> SparkSession:
    """Return a copy of the session whose commits carry the properties in their snapshots' summaries.

    A copy, since streams that start meanwhile take over the settings of the session that they start in.
    """
    copy = SparkSession(session.sparkContext, session._jsparkSession.cloneSession())
    for key, value in properties.items():
        copy.conf.set(SNAPSHOT_PROPERTY + key, value)
    return copy
