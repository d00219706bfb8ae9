"""Spark as a Dagster resource: dagster-pyspark's lazy session, started the way the platform starts every session."""

from typing import Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field, PrivateAttr

from rtap_assets.config import Settings


class SparkSessionResource(LazyPySparkResource):  # type: ignore[misc]
    """Start a Spark session in the run at the first use; a run that hands its work to the stream host starts none.

    dagster-pyspark gives its whole configuration to `getOrCreate`, which puts it on the command line of the JVM, and Dagster
    shows a resource's configuration in the UI. Ours includes secrets, so `start_session` hands them over through Py4J.
    """

    settings: dg.ResourceDependency[Settings]
    _spark_session: Any = PrivateAttr(default=None)
    spark_config: dict[str, Any] = Field({}, description="More Spark settings for runs; no secrets, the UI shows them.")

    def _init_session(self) -> None:
        from rtap_assets.streaming.session import start_session  # noqa: PLC0415 - loads Spark

        if self._spark_session is None:
            extra = self.settings.spark_extra_conf | {key: str(value) for key, value in self.spark_config.items()}
            self._spark_session = start_session(self.settings.model_copy(update={"spark_extra_conf": extra}))
