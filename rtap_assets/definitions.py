"""Everything that Dagster knows, on one page. Loading it touches no network, no disk and no JVM."""

from __future__ import annotations

import dagster as dg

from rtap_assets.assets.layers import layer_assets
from rtap_assets.assets.marts import refreshed_marts
from rtap_assets.assets.quality_checks import QUALITY_CHECKS
from rtap_assets.assets.stream_state import stream_state
from rtap_assets.assets.topics import topic_specs
from rtap_assets.config import Settings, get_settings
from rtap_assets.jobs.corrections import CORRECTION_JOBS
from rtap_assets.jobs.dead_letters import rejudge_dead_letters
from rtap_assets.jobs.maintenance import maintain_tables, maintenance_schedule
from rtap_assets.jobs.materialize import materialize_everything
from rtap_assets.jobs.quality import QUALITY_JOBS, quality_schedules
from rtap_assets.jobs.rebuild import rebuild_layer
from rtap_assets.jobs.streams import STREAM_JOBS
from rtap_assets.resources.marts import Marts
from rtap_assets.resources.spark import SparkSessionResource
from rtap_assets.resources.streams import StreamHost
from rtap_assets.sensors.alerts import alerts_sensor
from rtap_assets.sensors.checkpoint_progress import checkpoint_progress
from rtap_assets.sensors.dlq_lag import dlq_lag_sensor
from rtap_assets.sensors.outside_changes import outside_changes
from rtap_assets.sensors.supervisor import stream_supervisor

TABLE_JOBS = [maintain_tables, rebuild_layer, *CORRECTION_JOBS, rejudge_dead_letters]


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return the definitions of one deployment: names, intervals and resources come from these settings alone."""
    return dg.Definitions(
        assets=[*topic_specs(settings), *layer_assets(settings), refreshed_marts(settings)],
        asset_checks=[stream_state, *QUALITY_CHECKS],
        jobs=[materialize_everything, *STREAM_JOBS, *QUALITY_JOBS, *TABLE_JOBS],
        sensors=[stream_supervisor, checkpoint_progress, dlq_lag_sensor, outside_changes, alerts_sensor],
        schedules=[*quality_schedules(settings), maintenance_schedule],
        resources={
            # As an object and not as Dagster's configuration, which the UI shows: the settings include secrets.
            "settings": settings,
            "streams": StreamHost(settings=settings),
            "spark": SparkSessionResource(settings=settings),
            "marts": Marts(database=str(settings.marts_path)),
        },
        # Steps are short and wait for the stream host most of the time: a process for each would cost more than it does.
        executor=dg.in_process_executor,
    )


defs = build_definitions(get_settings())
