"""The job that makes everything complete up to now."""

from __future__ import annotations

from dagster import AssetSelection, define_asset_job

materialize_everything = define_asset_job(
    "materialize_everything",
    selection=AssetSelection.all(),
    description="Drain the streams in order, then refresh the marts.",
)
