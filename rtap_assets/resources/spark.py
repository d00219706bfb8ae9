"""The Spark session as a Dagster resource, through dagster-pyspark: one per process, for short batch runs (maintenance).

The streams and the drains run in the stream host, never here: it owns the checkpoints.
"""

from __future__ import annotations

from dagster import get_dagster_logger
from dagster_pyspark import LazyPySparkResource

from rtap_assets.config import get_settings
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
