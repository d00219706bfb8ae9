"""Settings of the tables: expiry, compaction, bounds, corrections. Part of `config.Settings`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class TableSettings(BaseSettings):
    """How tables are kept small and corrected. Times are in the unit the name ends with."""

    snapshot_retention_seconds: float = Field(
        900,
        ge=0,
        description="How long a snapshot is kept after a newer one took its place; longer than any reader's query.",
    )
    snapshots_to_keep: int = Field(20, ge=1, description="Snapshots of a table that are kept whatever their age.")
    snapshot_expiry_batch: int = Field(
        100, ge=1, description="Between maintenance runs, snapshots are expired when this many of a table may go."
    )
    reader_pin_seconds: float = Field(900, ge=0, description="How long a reader's pin keeps the snapshots that it planned.")
    consumer_alert_seconds: float = Field(
        86_400, gt=0, description="A stream this far behind its table holds expiry back and is reported."
    )
    compaction_target_bytes: int = Field(
        134_217_728, ge=1_048_576, description="Size of the data files that a compaction aims at."
    )
    compaction_min_files: int = Field(5, ge=2, description="Fewest files of one table partition that are worth compacting.")
    compaction_after_files: int = Field(
        500,
        ge=2,
        description="Between maintenance runs, a table that is appended to is compacted after this many new data files.",
    )
    orphan_retention_seconds: float = Field(
        259_200, ge=86_400, description="Age at which a file that no snapshot names is removed."
    )
    snapshot_expiry_interval_seconds: float = Field(
        300, gt=0, description="How often the stream host looks whether files may be compacted and snapshots expire."
    )
    correction_horizon_days: int = Field(
        7,
        ge=1,
        description="Horizon within which an event_id counts once and late rows are added, by the broker's timestamps.",
    )
    corrections_interval_minutes: int = Field(
        15, ge=1, le=59, description="How often late rows and later copies are corrected, minutes."
    )
    correction_wait_seconds: float = Field(
        60, ge=0, description="How long a correction waits for gold to have read what it corrects; the next run goes on."
    )
    table_lock_seconds: float = Field(60, ge=0, description="How long maintenance waits for another one on the same table.")
    table_most_snapshots: int = Field(2_000, ge=1, description="Bound of a table's snapshots; above it is an alert.")
    table_most_manifests: int = Field(200, ge=1, description="Bound of the newest snapshot's manifests.")
    table_most_metadata_bytes: int = Field(4_194_304, ge=1, description="Bound of a table's metadata file.")
    table_most_data_files: int = Field(50_000, ge=1, description="Bound of the newest snapshot's data files.")
    event_log_retention_days: float = Field(7, gt=0, description="Age at which Dagster's runs and events are pruned.")
