"""Everything that Dagster knows, on one page. Loading it touches no network, no disk and no JVM."""

from __future__ import annotations

from dagster import Definitions, in_process_executor

from rtap_assets.assets.layers import LAYERS
from rtap_assets.assets.marts import refreshed_marts
from rtap_assets.assets.quality_checks import QUALITY_CHECKS
from rtap_assets.assets.stream_state import stream_state
from rtap_assets.assets.topics import topic_specs
from rtap_assets.config import get_settings
from rtap_assets.jobs.corrections import CORRECTION_JOBS
from rtap_assets.jobs.dead_letters import rejudge_dead_letters
from rtap_assets.jobs.maintenance import maintain_tables, maintenance_schedule
from rtap_assets.jobs.materialize import materialize_everything
from rtap_assets.jobs.quality import QUALITY_JOBS, QUALITY_SCHEDULES
from rtap_assets.jobs.streams import STREAM_JOBS
from rtap_assets.resources.marts import Marts
from rtap_assets.resources.streams import StreamHost
from rtap_assets.sensors.checkpoint_progress import checkpoint_progress
from rtap_assets.sensors.dlq_lag import dlq_lag_sensor
from rtap_assets.sensors.supervisor import stream_supervisor

defs = Definitions(
    assets=[*topic_specs(), *LAYERS, refreshed_marts],
    asset_checks=[stream_state, *QUALITY_CHECKS],
    jobs=[materialize_everything, *STREAM_JOBS, *QUALITY_JOBS, maintain_tables, *CORRECTION_JOBS, rejudge_dead_letters],
    sensors=[stream_supervisor, checkpoint_progress, dlq_lag_sensor],
    schedules=[*QUALITY_SCHEDULES, maintenance_schedule],
    resources={
        "streams": StreamHost(),
        "marts": Marts(database=str(get_settings().marts_path)),
    },
    # Steps are short and wait for the stream host most of the time: a process for each would cost more than it does.
    executor=in_process_executor,
)
