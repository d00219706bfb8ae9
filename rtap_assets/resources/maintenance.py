"""Table maintenance as a Dagster resource: in this process's Spark session, which needs the checkpoints to itself."""

from collections.abc import Callable

from dagster import ConfigurableResource, ResourceDependency

from rtap_assets.config import get_settings
from rtap_assets.resources.spark import PlatformSpark
from rtap_assets.streaming.layers import open_layers
from rtap_assets.streaming.maintenance import MaintenanceReport, maintain_tables


class TableMaintenance(ConfigurableResource):  # type: ignore[type-arg]
    """Maintains the three tables; see `streaming.maintenance.maintain_tables`."""

    spark: ResourceDependency[PlatformSpark]

    def run(self, *, echo: Callable[[str], None]) -> MaintenanceReport:
        """One maintenance of all tables.

        Raises:
            StreamError: another process owns the checkpoints; it maintains the tables itself.
        """
        settings = get_settings()
        with open_layers(self.spark.spark_session, settings) as session:
            return maintain_tables(session, settings, echo=echo)
