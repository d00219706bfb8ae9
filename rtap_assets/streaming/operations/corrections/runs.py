"""What every part of a correction needs: who asks, with which session, and how gold is paused meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.table_lock import table_lock
from rtap_assets.streaming.operations.maintenance import utc_now

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

    @contextmanager
    def locked(self, spec: TableSpec) -> Iterator[None]:
        """Keep maintenance and other corrections from the table for the time of the block.

        Raises:
            StreamError: another one has held it for long.
        """
        with table_lock(self.settings, spec.identifier, seconds=self.settings.table_lock_seconds) as held:
            if not held:
                raise StreamError(
                    f"A maintenance or another correction has held {spec.identifier} for over "
                    f"{self.settings.table_lock_seconds:.0f} s.",
                    remedy="Wait for it to end, then try again; or raise RTAP_TABLE_LOCK_SECONDS.",
                )
            yield


def stamped_session(session: SparkSession, properties: Mapping[str, str]) -> SparkSession:
    """Return a copy of the session whose commits carry the properties in their snapshots' summaries.

    A copy, since streams that start meanwhile take over the settings of the session that they start in.
    """
    copy = SparkSession(session.sparkContext, session._jsparkSession.cloneSession())
    for key, value in properties.items():
        copy.conf.set(SNAPSHOT_PROPERTY + key, value)
    return copy
