"""Gold's sink: publish the batch's windows, then upsert them. Safe to repeat in any state between the two.

The aggregate topic comes first and is flushed, so that a crash in between repeats a message and loses none; the MERGE
writes absolute values and is skipped when a snapshot already carries this query's batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD
from rtap_assets.errors import ConfigurationError
from rtap_assets.kafka.clients import spark_sink_options
from rtap_assets.kafka.registry import Registry
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.snapshots import (
    STAMP_EPOCH_ID,
    STAMP_QUERY_ID,
    STAMP_WATERMARK_MS,
    ancestors,
    summary_value,
)
from rtap_assets.streaming.checkpoints import query_id, read_batch
from rtap_assets.transforms.gold import build_revenue_messages

UPDATES_VIEW = "revenue_updates"
SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property."


def gold_sink(settings: Settings, checkpoint: Path) -> Callable[[DataFrame, int], None]:
    """The function that `foreachBatch` calls with each micro-batch of changed windows."""
    schema_id, schema = newest_schema(Registry(settings), settings)

    def write(batch: DataFrame, batch_id: int) -> None:
        batch.persist()
        try:
            # As text: a collected timestamp would be turned into this machine's time zone.
            bounds = batch.agg(F.min("window_start").cast("string"), F.max("window_start").cast("string")).first()
            if bounds is None or bounds[0] is None:
                return
            publish(batch, settings=settings, schema_id=schema_id, schema=schema)
            query = str(query_id(checkpoint))
            if not is_merged(settings, query=query, batch_id=batch_id):
                watermark_ms = read_batch(checkpoint, batch_id).watermark_ms
                stamp = {STAMP_QUERY_ID: query, STAMP_EPOCH_ID: str(batch_id), STAMP_WATERMARK_MS: str(watermark_ms)}
                merge(batch, settings=settings, first=bounds[0], last=bounds[1], stamp=stamp)
        finally:
            batch.unpersist()

    return write


def newest_schema(registry: Registry, settings: Settings) -> tuple[int, str]:
    """The id and text of the aggregate topic's newest schema.

    Raises:
        ConfigurationError: none is registered.
        DependencyUnavailable: the registry does not answer.
    """
    subject = f"{settings.topic_revenue}-value"
    versions = registry.versions(subject)
    if not versions:
        raise ConfigurationError(f"No schema is registered under {subject}.", remedy="Run `rtap contracts register`.")
    return max(versions.items())


def publish(batch: DataFrame, *, settings: Settings, schema_id: int, schema: str) -> None:
    """Send the windows to the aggregate topic and wait until the broker has them all."""
    messages = build_revenue_messages(batch, schema_id=schema_id, schema=schema)
    messages.write.format("kafka").options(**spark_sink_options(settings)).option("topic", settings.topic_revenue).save()


def is_merged(settings: Settings, *, query: str, batch_id: int) -> bool:
    """True when the newest snapshot stamped by this query holds this batch or a later one."""
    table = load_table(open_catalog(settings), GOLD.identifier)
    for snapshot in ancestors(table):
        if summary_value(snapshot, STAMP_QUERY_ID) == query:
            return int(summary_value(snapshot, STAMP_EPOCH_ID) or -1) >= batch_id
    return False


def merge(batch: DataFrame, *, settings: Settings, first: str, last: str, stamp: dict[str, str]) -> None:
    """Upsert the windows by key, in one snapshot that carries the stamp; `first` and `last` bound the window starts."""
    session = batch.sparkSession
    for key, value in stamp.items():
        session.conf.set(SNAPSHOT_PROPERTY + key, value)
    batch.createOrReplaceTempView(UPDATES_VIEW)
    session.sql(merge_statement(f"{settings.catalog_name}.{GOLD.identifier}", first=first, last=last))


def merge_statement(table: str, *, first: str, last: str) -> str:
    """The upsert. The bounds let Iceberg skip the table partitions that the batch does not touch."""
    keys = " AND ".join(f"t.{name} = s.{name}" for name in GOLD.key)
    kept = {*GOLD.key, "revision"}  # a restatement's revision is not the stream's to change
    updates = ", ".join(f"t.{name} = s.{name}" for name in GOLD.column_names if name not in kept)
    return (
        f"MERGE INTO {table} t USING {UPDATES_VIEW} s\n"
        f"ON {keys} AND t.window_start BETWEEN TIMESTAMP '{first}' AND TIMESTAMP '{last}'\n"
        f"WHEN MATCHED THEN UPDATE SET {updates}\nWHEN NOT MATCHED THEN INSERT *"
    )
