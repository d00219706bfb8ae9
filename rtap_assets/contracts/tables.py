"""The tables of the lake, described once: columns with types and meaning, grain, key and partitioning.

`lake/tables.py` creates and evolves the Iceberg tables from this, the Dagster assets show it, and a test holds the Avro,
Spark, Iceberg and DuckDB types together. Types are written as Spark SQL and Iceberg both read them; every timestamp is an
instant, kept in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MONEY = "decimal(18,4)"
MONEY_SUM = "decimal(28,4)"


@dataclass(frozen=True)
class Column:
    """One column; `doc` describes it, with the unit."""

    name: str
    type: str
    doc: str


@dataclass(frozen=True)
class TableSpec:
    """One table of the lake. Its namespace is its layer: the folder, the group in Dagster, the first part of the asset key.

    `view` is the name by which `rtap sql`, marts and checks read it. `partition` is an Iceberg partition transform in Spark
    SQL. `mostly_unique` names the columns whose values hardly repeat within a file, so that a dictionary of them saves
    nothing. `is_merged`: its stream changes rows by MERGE, so that it pauses while maintenance compacts the table. `note` is
    what the asset's description adds to `doc`.
    """

    namespace: str
    name: str
    view: str
    doc: str
    grain: str
    key: tuple[str, ...]
    partition: str
    columns: tuple[Column, ...]
    mostly_unique: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)
    is_merged: bool = False
    note: str = ""

    @property
    def identifier(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def type_of(self, name: str) -> str:
        """Return the type of a column."""
        return next(column.type for column in self.columns if column.name == name)


EVENT_COLUMNS = (
    Column("event_id", "string", "UUID of the event, the idempotency key."),
    Column("event_time", "timestamp", "When the sale happened, UTC."),
    Column("ingest_time", "timestamp", "When the producer took the event in, UTC."),
    Column("schema_version", "int", "Version of the contract the producer wrote."),
    Column("event_type", "string", "purchase, renewal, upgrade, downgrade or refund."),
    Column("account_id", "string", "Customer account; the Kafka key."),
    Column("plan_tier", "string", "free, starter, pro or enterprise."),
    Column("region", "string", "na, emea, apac or latam."),
    Column("product_id", "string", "Product sold."),
    Column("quantity", "int", "Units sold, zero or more."),
    Column("amount", MONEY, "Total of the event in `currency`, never negative: a refund carries the amount paid back."),
    Column("currency", "string", "ISO 4217 code."),
    Column("promo_code", "string", "Promotion applied; null when none or written before contract version 2."),
    Column("sales_channel", "string", "Where the sale was made; null when written before contract version 2."),
)

MOSTLY_UNIQUE = ("event_id", "event_time", "ingest_time", "amount", "kafka_offset")

KAFKA_COLUMNS = (
    Column("topic", "string", "Kafka topic the record came from."),
    Column("topic_epoch", "int", "How often the topic had been made again under its name; null is 0."),
    Column("kafka_partition", "int", "Kafka partition the record came from."),
    Column("kafka_offset", "bigint", "Kafka offset of the record."),
    Column("kafka_timestamp", "timestamp", "When the broker appended the record, UTC."),
    Column("schema_id", "bigint", "Registry id of the writer's schema; null when the value carries none."),
)

# What a later judgement of the same bytes fills; the stream leaves it null.
REJUDGED_COLUMNS = ("rejudged_at", "rejudged_from")

BRONZE = TableSpec(
    namespace="bronze",
    name="sales_events",
    view="bronze",
    doc="Every record of the events topic, decoded as far as it goes, raw bytes kept; quarantined when error_reason is set.",
    grain="one Kafka record",
    key=("topic", "topic_epoch", "kafka_partition", "kafka_offset"),
    partition="days(kafka_timestamp)",
    columns=(
        *EVENT_COLUMNS,
        *KAFKA_COLUMNS,
        Column("error_reason", "string", "Reason code when the record is quarantined, null when it is valid."),
        Column("error_detail", "string", "What exactly broke the rule, at most 200 characters; null when the row is valid."),
        Column("rejudged_at", "timestamp", "When another judgement of the record changed its verdict, UTC; else null."),
        Column("rejudged_from", "string", "The reason code that the record had before it was judged again."),
        Column("raw_key", "binary", "The record's key, unchanged."),
        Column("raw_value", "binary", "The record's value, unchanged; null for a tombstone."),
        Column("kafka_headers", "array<struct<key:string,value:binary>>", "The record's headers, unchanged."),
    ),
    mostly_unique=(*MOSTLY_UNIQUE, "raw_value"),
    # Written and read once by the streams, and soon compacted: the cheapest codec, at 1.7 times the bytes of zstd.
    properties={"write.parquet.compression-codec": "lz4_raw"},
    note="Nothing is left out: an invalid record is a row too, with its reason.",
)

SILVER = TableSpec(
    namespace="silver",
    name="sales_events",
    view="silver",
    doc="Valid sales events, one row each, codes in canonical form, with signed net amount and latencies.",
    grain="one event",
    key=("event_id",),
    partition="days(event_time)",
    columns=(
        *EVENT_COLUMNS,
        Column("net_amount", MONEY, "Signed effect on revenue in `currency`: minus the amount for a refund."),
        *KAFKA_COLUMNS,
        Column("ingest_latency_ms", "bigint", "From event_time to ingest_time, milliseconds."),
        Column("delivery_latency_ms", "bigint", "From event_time to the Kafka timestamp, milliseconds."),
        Column("processing_latency_ms", "bigint", "From the Kafka timestamp to this row's micro-batch, milliseconds."),
        Column("is_late", "boolean", "True when the stream had to drop the row and reconciliation added it."),
        Column("processed_at", "timestamp", "Timestamp of the micro-batch that wrote the row, UTC."),
    ),
    mostly_unique=(
        *MOSTLY_UNIQUE,
        *("net_amount", "kafka_timestamp", "ingest_latency_ms", "delivery_latency_ms", "processing_latency_ms"),
    ),
    # A tenth less CPU for a task than the default of 3, and not more bytes.
    properties={"write.parquet.compression-level": "1"},
    note="Rows later than the watermark are added by a job.",
)

# What is summed per window; `transforms/gold.py` has the sum of each. The record of corrections and the marts follow.
REVENUE_MEASURES = (
    Column("gross_amount", MONEY_SUM, "Sum of the amounts of everything but refunds."),
    Column("refund_amount", MONEY_SUM, "Sum of the amounts paid back, as a positive number."),
    Column("net_amount", MONEY_SUM, "gross_amount minus refund_amount."),
    Column("orders", "bigint", "Number of events that are not refunds."),
    Column("refunds", "bigint", "Number of refunds."),
)

GOLD = TableSpec(
    namespace="gold",
    name="revenue_5m",
    view="gold",
    doc="Revenue per sliding five-minute window, plan tier, region and currency; windows are [start, end), UTC.",
    grain="one window x plan_tier x region x currency",
    key=("window_start", "plan_tier", "region", "currency"),
    partition="days(window_start)",
    columns=(
        Column("window_start", "timestamp", "Start of the window, inclusive, UTC."),
        Column("window_end", "timestamp", "End of the window, exclusive, UTC."),
        Column("plan_tier", "string", "free, starter, pro or enterprise."),
        Column("region", "string", "na, emea, apac or latam."),
        Column("currency", "string", "ISO 4217 code; sums never cross currencies."),
        *REVENUE_MEASURES,
        Column("revision", "int", "How often the row was changed after its window was final, by late rows or a correction."),
        Column("updated_at", "timestamp", "Timestamp of the micro-batch that last changed the row, UTC."),
    ),
    is_merged=True,
    note="A window is final once gold's watermark has passed its end.",
)

# In the order of the flow: a table comes after those that it is made from.
TABLES = (BRONZE, SILVER, GOLD)

DQ_RESULTS = TableSpec(
    namespace="quality",
    name="dq_results",
    view="quality",
    doc="Every evaluation of every data-quality check, from the topic of results.",
    grain="one evaluation of one check on one table",
    key=("result_id",),
    partition="",
    columns=(
        Column("result_id", "string", "Identity of the evaluation; a repeated message has the same."),
        Column("check_name", "string", "Name of the check."),
        Column("table_name", "string", "Table that it looked at."),
        Column("source", "string", "pass: by reading the lake; stream: in a micro-batch, by earlier versions."),
        Column("severity", "string", "warn or error."),
        Column("blocking", "boolean", "True when a failure stops what builds on the table."),
        Column("passed", "boolean", "True when observed is at most threshold; with rows_checked 0 nothing was looked at."),
        Column("observed", "double", "What was measured, in the unit of the check's threshold setting."),
        Column("threshold", "double", "The bound that held at the time."),
        Column("rows_checked", "bigint", "Rows that were looked at."),
        Column("rows_failed", "bigint", "Rows that broke the rule."),
        Column("measured_from", "timestamp", "Start of the time looked at, UTC; null when there is none."),
        Column("measured_at", "timestamp", "When it was measured, UTC."),
        Column("batch_id", "bigint", "Micro-batch of the stream; null for a pass."),
        Column("snapshot_id", "bigint", "Snapshot of the table that a pass read; null for a stream."),
        Column("detail", "string", "More figures, as a JSON object of strings."),
    ),
)
