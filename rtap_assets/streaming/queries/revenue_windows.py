"""Tables that sum silver's revenue by window: which windows, in which table, published to which topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import DataFrame

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD, TableSpec
from rtap_assets.errors import ConfigurationError
from rtap_assets.kafka.clients import spark_sink_options
from rtap_assets.registry.client import Registry
from rtap_assets.transforms.gold import build_revenue_messages


@dataclass(frozen=True)
class RevenueWindows:
    """The windows that a table sums revenue by, length and slide in seconds; `topic` gets each change of a window."""

    table: TableSpec
    window_seconds: int
    slide_seconds: int
    topic: str | None = None

    def name_in(self, settings: Settings) -> str:
        """Return the table's name in Spark."""
        return f"{settings.catalog_name}.{self.table.identifier}"


def revenue_5m(settings: Settings) -> RevenueWindows:
    """Return the windows of gold."""
    return RevenueWindows(GOLD, settings.window_seconds, settings.slide_seconds, settings.topic_revenue)


# By the stream that fills the table. Corrections subtract what they remove from each of these tables.
REVENUE_WINDOWS: dict[str, Callable[[Settings], RevenueWindows]] = {"gold": revenue_5m}


def newest_schema(registry: Registry, topic: str) -> tuple[int, str]:
    """Return the id and text of the newest schema of an aggregate topic.

    Raises:
        ConfigurationError: none is registered.
        DependencyUnavailable: the registry does not answer.
    """
    subject = f"{topic}-value"
    versions = registry.versions(subject)
    if not versions:
        raise ConfigurationError(f"No schema is registered under {subject}.", remedy="Run `rtap contracts register`.")
    return max(versions.items())


def publisher(settings: Settings, windows: RevenueWindows) -> Callable[[DataFrame], None]:
    """Return the function that sends windows to their topic and waits until the broker has them all; without one, nothing.

    Raises:
        ConfigurationError: no schema is registered for the topic.
        DependencyUnavailable: the registry does not answer.
    """
    topic = windows.topic
    if topic is None:
        return lambda rows: None
    schema_id, schema = newest_schema(Registry(settings), topic)

    def publish(rows: DataFrame) -> None:
        messages = build_revenue_messages(rows, schema_id=schema_id, schema=schema)
        messages.write.format("kafka").options(**spark_sink_options(settings)).option("topic", topic).save()

    return publish
