"""The Spark session as a Dagster resource, through dagster-pyspark: one per process, shared by all assets of a run."""

from collections.abc import Callable

from dagster import ConfigurableResource, ResourceDependency, get_dagster_logger
from dagster_pyspark import LazyPySparkResource

from rtap_assets.config import get_settings
from rtap_assets.streaming.drain import DrainReport, drain_stream
from rtap_assets.streaming.layers import open_layers
from rtap_assets.streaming.session import prepare_environment, spark_conf


class PlatformSpark(LazyPySparkResource):  # type: ignore[misc]
    """dagster-pyspark's lazy session with the platform's settings, read when the session starts and not at import."""

    def _init_session(self) -> None:
        if self._spark_session is None:
            settings = get_settings()
            get_dagster_logger().info(f"starting a Spark session on {settings.spark_master}, about ten seconds")
            prepare_environment(settings)
            self.spark_config.update(spark_conf(settings))
        super()._init_session()


class Layers(ConfigurableResource):  # type: ignore[type-arg]
    """Drains the layers of the lake."""

    spark: ResourceDependency[PlatformSpark]

    def drain(self, stream: str, *, echo: Callable[[str], None]) -> DrainReport:
        """Process everything that the stream's source holds now; see `streaming.drain.drain_stream`."""
        settings = get_settings()
        with open_layers(self.spark.spark_session, settings) as session:
            return drain_stream(session, settings, stream, echo=echo)
