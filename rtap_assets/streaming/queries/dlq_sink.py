"""The sink of the dead-letter topic: the quarantined rows of a micro-batch of bronze, at least once.

It reads the batch's files itself: the columns of a dead letter, and no file whose statistics say that nothing in it is
quarantined. The streaming source would read every column of every row, to find half a percent of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.config import Settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.contracts.topics import DLQ_HEADER_BYTES
from rtap_assets.kafka.clients import spark_sink_options
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.data_files import count_values
from rtap_assets.lake.staged_files import StagedTable
from rtap_assets.quality.batch_counts import DLQ_METRICS
from rtap_assets.streaming.checkpoints.files import query_id, source_range
from rtap_assets.streaming.model.batch_metrics import BatchMetrics
from rtap_assets.transforms.dlq import build_dead_letters


def dlq_sink(settings: Settings, checkpoint: Path) -> Callable[[DataFrame, int], None]:
    """Return the function that `foreachBatch` calls with each micro-batch of bronze rows."""
    options = {
        **spark_sink_options(settings),
        "kafka.max.request.size": settings.topic_max_message_bytes + DLQ_HEADER_BYTES,
        "kafka.compression.type": "lz4",
        "topic": settings.topic_dlq,
        "includeHeaders": "true",
    }
    with open_catalog(settings) as catalog:
        readable = load_table(catalog, BRONZE.identifier)

    def publish(batch: DataFrame, batch_id: int) -> None:
        query = str(query_id(checkpoint))
        bronze = StagedTable(batch.sparkSession, f"{settings.catalog_name}.{BRONZE.identifier}")
        tasks = bronze.appended(*source_range(checkpoint, batch_id))
        quarantined = bronze.with_values(tasks, "error_reason")
        # Not counted in the plan: the counts of `observe` do not come back from a batch that Spark writes to Kafka.
        found = count_values(readable, [str(task.file().location()) for task in quarantined], "error_reason")
        if found:
            with bronze.staged(quarantined) as files:
                letters = build_dead_letters(files.rows().where(F.col("error_reason").isNotNull()))
                letters.write.format("kafka").options(**options).save()
        BatchMetrics.put(query, batch_id, DLQ_METRICS, {reason.value: 0 for reason in Reason} | found)
        BatchMetrics.put_read(query, batch_id, rows=sum(task.file().recordCount() for task in tasks), watermark_ms=None)

    return publish
