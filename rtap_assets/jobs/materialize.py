"""The job that makes everything complete up to now."""

from __future__ import annotations

import dagster as dg

materialize_everything = dg.define_asset_job(
    "materialize_everything",
    selection=dg.AssetSelection.all(),
    description="Drain the streams in order, then refresh the marts.",
)
