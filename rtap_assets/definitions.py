"""Everything that Dagster knows, on one page. Loading it touches no network, no disk and no JVM."""

from __future__ import annotations

from dagster import Definitions, in_process_executor

from rtap_assets.assets.layers import LAYERS
from rtap_assets.assets.marts import refreshed_marts
from rtap_assets.assets.quality_checks import QUALITY_CHECKS
from rtap_assets.assets.topics import topic_specs
from rtap_assets.config import get_settings
from rtap_assets.jobs.materialize import materialize_everything
from rtap_assets.jobs.quality import QUALITY_JOBS, QUALITY_SCHEDULES
from rtap_assets.resources.marts import Marts
from rtap_assets.resources.spark import Layers, PlatformSpark
from rtap_assets.sensors.dlq_lag import dlq_lag_sensor
from rtap_assets.sensors.dq_results import dq_results_sensor

defs = Definitions(
    assets=[*topic_specs(), *LAYERS, refreshed_marts],
    asset_checks=[*QUALITY_CHECKS],
    jobs=[materialize_everything, *QUALITY_JOBS],
    schedules=[*QUALITY_SCHEDULES],
    sensors=[dq_results_sensor, dlq_lag_sensor],
    resources={
        "layers": Layers(spark=PlatformSpark(spark_config={})),
        "marts": Marts(database=str(get_settings().marts_path)),
    },
    # One Spark session for all assets of a run: never one JVM per step.
    executor=in_process_executor,
)
