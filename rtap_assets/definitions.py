"""Everything that Dagster knows, on one page. Loading it touches no network, no disk and no JVM."""

from __future__ import annotations

from dagster import Definitions, in_process_executor

from rtap_assets.assets.layers import LAYERS
from rtap_assets.assets.marts import refreshed_marts
from rtap_assets.assets.topics import topic_specs
from rtap_assets.config import get_settings
from rtap_assets.jobs.maintenance import maintain_tables, maintenance_schedule
from rtap_assets.jobs.materialize import materialize_everything
from rtap_assets.resources.maintenance import TableMaintenance
from rtap_assets.resources.marts import Marts
from rtap_assets.resources.spark import Layers, PlatformSpark

spark = PlatformSpark(spark_config={})

defs = Definitions(
    assets=[*topic_specs(), *LAYERS, refreshed_marts],
    jobs=[materialize_everything, maintain_tables],
    schedules=[maintenance_schedule],
    resources={
        "layers": Layers(spark=spark),
        "maintenance": TableMaintenance(spark=spark),
        "marts": Marts(database=str(get_settings().marts_path)),
    },
    # One Spark session for all assets of a run: never one JVM per step.
    executor=in_process_executor,
)
