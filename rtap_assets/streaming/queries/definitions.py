"""The streaming queries: where each reads, which transform it applies, where it writes. None is started here.

`contracts/streams.py` lists the streams; here each has its query.

Each writes in `foreachBatch`: bronze and silver append, gold adds to its windows, the DLQ query publishes. No row passes
through Python.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.readwriter import DataStreamWriter

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_SPECS, StreamSpec
from rtap_assets.contracts.tables import BRONZE, SILVER, TableSpec
from rtap_assets.kafka.clients import spark_source_options
from rtap_assets.streaming.batch_functions import Sink, batch_function
from rtap_assets.streaming.checkpoints.topic_facts import starting_offsets, topic_epoch
from rtap_assets.streaming.queries.bronze_sink import bronze_sink
from rtap_assets.streaming.queries.dlq_sink import dlq_sink
from rtap_assets.streaming.queries.event_times import report_event_times
from rtap_assets.streaming.queries.gold_sink import gold_sink
from rtap_assets.streaming.queries.registered_schemas import WriterMemory
from rtap_assets.streaming.queries.revenue_windows import REVENUE_WINDOWS
from rtap_assets.streaming.queries.silver_sink import silver_sink

Writer = Callable[[SparkSession, Settings], DataStreamWriter]


@dataclass(frozen=True)
class StreamDefinition(StreamSpec):
    """A stream with `writer`, the function that returns its query, not started yet."""

    writer: Writer = field(kw_only=True)

    def trigger_seconds(self, settings: Settings) -> float:
        """Return the trigger interval in continuous mode, seconds."""
        return float(getattr(settings, f"trigger_{self.name}_seconds"))


def bronze_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    """Return bronze's query: the events topic, decoded and judged.

    Lists the schemas of the topic's subject at each start, and asks the registry for other ids as they come.
    """
    memory = WriterMemory(settings)
    memory.prime()
    records = kafka_records(session, settings, BRONZE_STREAM)
    checkpoint = BRONZE_STREAM.checkpoint(settings)
    sink = bronze_sink(settings, checkpoint, memory, topic_epoch=topic_epoch(settings, BRONZE_STREAM))
    return _each_batch(records, checkpoint, sink)


def kafka_records(session: SparkSession, settings: Settings, stream: StreamDefinition) -> DataFrame:
    """Return the records of the topic that the stream follows, with their headers."""
    return (
        session.readStream.format("kafka")
        .options(**spark_source_options(settings))
        .option("subscribe", stream.topic_in(settings))
        .option("startingOffsets", starting_offsets(settings, stream))
        .option("failOnDataLoss", "true")
        .option("includeHeaders", "true")
        .option("maxOffsetsPerTrigger", settings.bronze_max_offsets_per_batch)
        .load()
    )


def dlq_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    """Return the query of the dead-letter topic: quarantined bronze rows, at least once."""
    checkpoint = DLQ_STREAM.checkpoint(settings)
    return _each_batch(_follow(session, settings, BRONZE), checkpoint, dlq_sink(settings, checkpoint))


def silver_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    """Return silver's query: valid bronze rows, each event once.

    Time: the sink drops what is older than the watermark of the batch before, as Spark does for a query with state.
    """
    rows = _follow(session, settings, BRONZE)
    events = rows.withWatermark("event_time", f"{settings.watermark_delay_seconds} seconds")
    checkpoint = SILVER_STREAM.checkpoint(settings)
    return _each_batch(events, checkpoint, silver_sink(settings, checkpoint, partial(report_event_times, session)))


def revenue_writer(session: SparkSession, settings: Settings, *, name: str) -> DataStreamWriter:
    """Return the query of a stream of revenue windows: silver events, added to the windows they are in.

    Time: nothing is too late. The sink stamps a watermark into the table, the newest event time less twice silver's delay,
        since gold may run ahead of silver by one batch; it drops no row, for there is no state.
    """
    checkpoint = STREAMS[name].checkpoint(settings)
    sink = gold_sink(settings, checkpoint, REVENUE_WINDOWS[name](settings))
    return _each_batch(_follow(session, settings, SILVER), checkpoint, sink)


WRITERS: dict[str, Writer] = {
    "bronze": bronze_writer,
    "dlq": dlq_writer,
    "silver": silver_writer,
    **{name: partial(revenue_writer, name=name) for name in REVENUE_WINDOWS},
}

STREAMS = {spec.name: StreamDefinition(**vars(spec), writer=WRITERS[spec.name]) for spec in STREAM_SPECS}
BRONZE_STREAM, DLQ_STREAM, SILVER_STREAM, GOLD_STREAM = (STREAMS[name] for name in ("bronze", "dlq", "silver", "gold"))


def _each_batch(rows: DataFrame, checkpoint: Path, sink: Sink) -> DataStreamWriter:
    return rows.writeStream.outputMode("append").foreachBatch(batch_function(checkpoint, sink))


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
