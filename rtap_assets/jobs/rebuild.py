"""The job that rebuilds a layer and what is below it: Spark work in the run itself, which owns the checkpoints meanwhile."""

from enum import StrEnum

import dagster as dg
from pydantic import Field

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.assets.layers import layer_metadata
from rtap_assets.contracts.streams import STREAM_SPECS
from rtap_assets.host.table_work import rebuild
from rtap_assets.jobs.failures import failing_with_next_step
from rtap_assets.resources.spark import SparkSessionResource
from rtap_assets.resources.streams import StreamHost

# Dagster shows the names of an enum's members. Bronze is read from Kafka, which keeps records for a time only.
Layer = StrEnum("Layer", [(stream.name, stream.name) for stream in STREAM_SPECS if not stream.reads_kafka])  # type: ignore[misc]
DEFAULT_LAYER = "gold"


class RebuildConfig(dg.Config):
    """Which layer to rebuild."""

    layer: Layer = Field(  # type: ignore[assignment]  # Dagster cannot keep a member of our enum as a default
        default=DEFAULT_LAYER,
        description="The layer that is dropped and built from the one above it, with those below it: silver (gold and the "
        "marts follow), gold, or dlq (every dead letter is sent once more).",
    )


@dg.op
def rebuild_from_above(
    context: dg.OpExecutionContext, config: RebuildConfig, streams: StreamHost, spark: SparkSessionResource
) -> None:
    """Drop the layer and those below it with their checkpoints, then build them from all that the table above holds."""
    settings, echo = streams.settings, context.log.info
    with failing_with_next_step():
        reports = rebuild(
            settings, str(config.layer), client=streams.client(), session=lambda: spark.spark_session, echo=echo
        )
    for report in reports:
        metadata = layer_metadata(settings, report)
        context.log_event(dg.AssetMaterialization(ASSET_OF_STREAM[report.stream], "Rebuilt from above.", metadata))


@dg.job(
    executor_def=dg.in_process_executor,
    description="Rebuild a layer and those below it from the table above. The streams must be stopped (job stop_streams).",
    config={"ops": {"rebuild_from_above": {"config": {"layer": DEFAULT_LAYER}}}},  # fills the launchpad
)
def rebuild_layer() -> None:
    """One step. Interrupted, it is run again: a layer without its checkpoint is refused by the streams until then."""
    rebuild_from_above()
