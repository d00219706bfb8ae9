"""The four streaming queries: where each reads, which transform it applies, where it writes. None is started here.

Silver uses Iceberg's own streaming sink and the DLQ query Spark's Kafka sink; bronze appends and gold adds to its windows in
`foreachBatch`. No row passes through Python.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.readwriter import DataStreamWriter

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TableSpec
from rtap_assets.kafka.clients import spark_sink_options, spark_source_options
from rtap_assets.quality.batch_counts import dead_letter_counts, silver_counts, silver_input_counts
from rtap_assets.quality.batch_results import DLQ_METRICS, SILVER_INPUT_METRICS, SILVER_METRICS
from rtap_assets.streaming.checkpoints.topic_facts import starting_offsets, topic_epoch
from rtap_assets.streaming.queries.bronze_sink import bronze_sink
from rtap_assets.streaming.queries.gold_sink import gold_sink
from rtap_assets.streaming.queries.registered_schemas import WriterMemory
from rtap_assets.transforms.dlq import build_dead_letters
from rtap_assets.transforms.silver import deduplicate_sales_events, normalise_sales_events, stamp_processing

DLQ_HEADROOM_BYTES = 65_536
GOLD_INPUT = ("event_time", "event_type", "plan_tier", "region", "currency", "net_amount")


@dataclass(frozen=True)
class StreamDefinition:
    """One query. `reads` is the table it follows (None: the events topic), `writes` the table it fills (None: a topic).

    `stateful` says whether its checkpoint holds state besides the position in the source.
    """

    name: str
    reads: TableSpec | None
    writes: TableSpec | None
    writer: Callable[[SparkSession, Settings], DataStreamWriter]
    native_sink: bool
    stateful: bool = False

    def checkpoint(self, settings: Settings) -> Path:
        return settings.checkpoint_dir / self.name

    def trigger_seconds(self, settings: Settings) -> float:
        return float(getattr(settings, f"trigger_{self.name}_seconds"))


def bronze_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    """Events topic to bronze; lists the topic's subject at each start, and asks the registry for other ids as they come."""
    memory = WriterMemory(settings)
    memory.prime()
    records = (
        session.readStream.format("kafka")
        .options(**spark_source_options(settings))
        .option("subscribe", settings.topic_events)
        .option("startingOffsets", starting_offsets(settings))
        .option("failOnDataLoss", "true")
        .option("includeHeaders", "true")
        .option("maxOffsetsPerTrigger", settings.bronze_max_offsets_per_batch)
        .load()
    )
    sink = bronze_sink(settings, BRONZE_STREAM.checkpoint(settings), memory, topic_epoch=topic_epoch(settings))
    return records.writeStream.outputMode("append").foreachBatch(sink)


def dlq_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    """Quarantined bronze rows to the dead-letter topic, at least once."""
    quarantined = _follow(session, settings, BRONZE).where("error_reason IS NOT NULL")
    letters = build_dead_letters(quarantined.observe(DLQ_METRICS, *dead_letter_counts()))
    return (
        letters.writeStream.format("kafka")
        .options(**spark_sink_options(settings))
        .option("kafka.max.request.size", settings.topic_max_message_bytes + DLQ_HEADROOM_BYTES)
        .option("kafka.compression.type", "lz4")
        .option("topic", settings.topic_dlq)
        .option("includeHeaders", "true")
        .outputMode("append")
    )


def silver_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    """Valid bronze rows to silver, each event once."""
    events = normalise_sales_events(_follow(session, settings, BRONZE)).observe(SILVER_INPUT_METRICS, *silver_input_counts())
    unique = deduplicate_sales_events(events, watermark_delay_seconds=settings.watermark_delay_seconds)
    return _iceberg_sink(stamp_processing(unique.observe(SILVER_METRICS, *silver_counts())))


def gold_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    """Return gold's query: silver events, added to the revenue windows they are in.

    Time: nothing is too late. The watermark drops no row, for there is no state; it is there to be shown, and its delay is
        twice silver's, since gold may run ahead of silver by one batch.
    """
    events = _follow(session, settings, SILVER).select(*GOLD_INPUT)
    events = events.withWatermark("event_time", f"{2 * settings.watermark_delay_seconds} seconds")
    return events.writeStream.outputMode("append").foreachBatch(gold_sink(settings, GOLD_STREAM.checkpoint(settings)))


BRONZE_STREAM = StreamDefinition("bronze", None, BRONZE, bronze_writer, native_sink=False)
DLQ_STREAM = StreamDefinition("dlq", BRONZE, None, dlq_writer, native_sink=True)
SILVER_STREAM = StreamDefinition("silver", BRONZE, SILVER, silver_writer, native_sink=True, stateful=True)
GOLD_STREAM = StreamDefinition("gold", SILVER, GOLD, gold_writer, native_sink=False)
STREAMS = {stream.name: stream for stream in (BRONZE_STREAM, DLQ_STREAM, SILVER_STREAM, GOLD_STREAM)}


def _follow(session: SparkSession, settings: Settings, spec: TableSpec) -> DataFrame:
    return (
        session.readStream.format("iceberg")
        .option("streaming-max-files-per-micro-batch", settings.source_max_files_per_batch)
        .option("streaming-max-rows-per-micro-batch", settings.source_max_rows_per_batch)
        # Rows that a correction changed or removed are accounted for by it, those that others did by a check.
        .option("streaming-skip-overwrite-snapshots", "true")
        .option("streaming-skip-delete-snapshots", "true")
        .load(f"{settings.catalog_name}.{spec.identifier}")
    )


def _iceberg_sink(rows: DataFrame) -> DataStreamWriter:
    # Streaming appends would otherwise add one manifest each and never merge them (apache/iceberg#17347).
    return rows.writeStream.format("iceberg").outputMode("append").option("use-merge-append-for-streaming", "true")
