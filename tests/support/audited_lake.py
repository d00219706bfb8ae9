"""The audit's workspace over a small lake made from a ledger, for tests of the comparison and of its page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from generator_fixtures import IDS, START, VERSIONS, chunks_of

from rtap_assets.audit.compare import compare_bronze, compare_gold, compare_silver
from rtap_assets.audit.judging import Judge
from rtap_assets.audit.ledger import compare_ledger
from rtap_assets.audit.report import Report
from rtap_assets.audit.schemas import WriterSchemas
from rtap_assets.audit.state import Consumed, LakeState
from rtap_assets.audit.topic import insert_records
from rtap_assets.audit.workspace import load_tables, sql
from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.avro.writer_schemas import RegisteredSchema
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.chunks import Chunk
from rtap_assets.generator.events import objects
from rtap_assets.generator.ledger import ACKNOWLEDGED, LedgerWriter, Outcomes
from rtap_assets.generator.options import GeneratorOptions

RUN = "run-1"
EVENTS = 600
OPTIONS = GeneratorOptions(events=EVENTS, span_seconds=1800, duplicates=0.05, invalid=0.1, reasons=tuple(Reason))
KAFKA_PARTITIONS = 3
WORKSPACE = "workspace.duckdb"
APPENDED_MS = int(START.timestamp() * 1000)
HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
ALL_READ = Consumed({"snapshot_id": 1, "position": 1})

# A record's place: its sequence number is dealt out over the Kafka partitions. A later copy is not in silver.
SILVER = """
CREATE TABLE silver_source AS
SELECT * EXCLUDE (copy) FROM (
    SELECT 'sales.events.v1' AS topic, r.kafka_partition, r.kafka_offset, r.event_uuid::VARCHAR AS event_id, r.event_time,
        r.ingest_time, r.schema_version, r.event_type, r.account_id, r.plan_tier, r.region, r.product_id, r.quantity,
        0 AS topic_epoch, r.amount, r.net_amount, r.currency, r.promo_code, r.sales_channel, false AS is_late,
        row_number() OVER (PARTITION BY r.event_uuid ORDER BY r.kafka_offset, r.kafka_partition) AS copy
    FROM records AS r WHERE verdict IS NULL
) WHERE copy = 1
"""
GOLD = """
CREATE TABLE gold_source AS
WITH starts AS (
    SELECT unnest(generate_series(first_start, last_start, INTERVAL 1 MINUTE)) AS window_start
    FROM (
        SELECT date_trunc('hour', min(event_time)) - INTERVAL 1 HOUR AS first_start, max(event_time) AS last_start
        FROM silver_source
    )
)
SELECT window_start, window_start + INTERVAL 5 MINUTE AS window_end, plan_tier, region, currency,
       sum(if(event_type = 'refund', 0, net_amount))::DECIMAL(28, 4) AS gross_amount,
       sum(if(event_type = 'refund', -net_amount, 0))::DECIMAL(28, 4) AS refund_amount,
       sum(net_amount)::DECIMAL(28, 4) AS net_amount,
       count_if(event_type <> 'refund')::BIGINT AS orders, count_if(event_type = 'refund')::BIGINT AS refunds, 0 AS revision
FROM starts JOIN silver_source ON event_time >= window_start AND event_time < window_start + INTERVAL 5 MINUTE
GROUP BY ALL
"""
NOTHING_UNREAD = """
CREATE TABLE bronze_unread_source AS FROM bronze_source LIMIT 0;
CREATE TABLE silver_unread_source AS FROM silver_source LIMIT 0;
"""


def schemas() -> dict[str, RegisteredSchema]:
    """Return the registry's schemas: both versions, and one that calls the amount's scale two."""
    incompatible = json.loads(VERSIONS[0].text)
    next(field for field in incompatible["fields"] if field["name"] == "amount")["type"]["scale"] = 2
    found = {IDS.versions[version.version]: version.text for version in VERSIONS} | {14: json.dumps(incompatible)}
    return {str(schema_id): RegisteredSchema(text) for schema_id, text in found.items()}


def all_acknowledged(chunk: Chunk) -> Outcomes:
    sequence = np.arange(len(chunk))
    partition = (sequence % KAFKA_PARTITIONS).astype(np.int32)
    return Outcomes(objects([ACKNOWLEDGED] * len(chunk)), partition, sequence // KAFKA_PARTITIONS)


class AuditedLake:
    """The audit's workspace with a topic, bronze, silver and gold as they should be after the chunk, and its ledger."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: Settings, chunk: Chunk) -> None:
        self.connection, self.settings, self.chunk = connection, settings, chunk
        self.ends = dict.fromkeys(range(KAFKA_PARTITIONS), EVENTS // KAFKA_PARTITIONS)
        self.silver = self.gold = ALL_READ

    def fill(self) -> None:
        """Create and fill the tables of the workspace, and write the ledger."""
        connection = self.connection
        connection.execute(sql("schema"))
        self._read_topic()
        self._write_ledger()
        connection.register("appended", self._bronze())
        connection.execute("CREATE TABLE bronze_source AS SELECT *, 'one.parquet' AS filename FROM appended")
        connection.execute("UPDATE bronze_source SET event_time = r.event_time, amount = r.amount, quantity = r.quantity "
                           "FROM records AS r WHERE r.kafka_partition = bronze_source.kafka_partition "
                           "AND r.kafka_offset = bronze_source.kafka_offset")  # fmt: skip
        connection.execute("INSERT INTO bronze_order VALUES ('one.parquet', 1, 0, NULL)")
        for partition, end in self.ends.items():
            connection.execute("INSERT INTO ranges VALUES (0, ?, 0, 0, ?, ?)", [partition, end, end])
        for statement in (SILVER, GOLD, NOTHING_UNREAD):
            connection.execute(statement)

    def sql(self, statement: str) -> None:
        self.connection.execute(statement)

    def report(self) -> Report:
        load_tables(self.connection, self.settings)
        state = LakeState({}, {}, self.ends, self.silver, self.gold)
        sections = [compare(self.connection, state) for compare in (compare_bronze, compare_silver, compare_gold)]
        sections.append(compare_ledger(self.connection, self.settings))
        return Report(tuple(sections), EVENTS if self.ends else 0)

    def _read_topic(self) -> None:
        judge = Judge(self.settings, WriterSchemas(self.settings, ask=schemas().get).of)
        places, columns = all_acknowledged(self.chunk), self.chunk.columns
        for partition in range(KAFKA_PARTITIONS):
            rows = np.flatnonzero(places.kafka_partition == partition)
            records = [
                (int(places.kafka_offset[row]), APPENDED_MS, columns["key"][row], columns["value"][row], ()) for row in rows
            ]
            insert_records(self.connection, judge, (0, partition), records, in_topic=True)

    def _write_ledger(self) -> None:
        writer = LedgerWriter(self.settings.ledger_dir, RUN)
        writer.intend(self.chunk)
        writer.settle(self.chunk, all_acknowledged(self.chunk))

    def _bronze(self) -> pa.Table:
        places, columns, rows = all_acknowledged(self.chunk), self.chunk.columns, range(len(self.chunk))
        valid = [reason is None for reason in self.chunk.reason]
        return pa.table({
            "topic": pa.array(["sales.events.v1"] * len(self.chunk)),
            "kafka_partition": pa.array(places.kafka_partition),
            "kafka_offset": pa.array(places.kafka_offset),
            "kafka_timestamp": pa.array([APPENDED_MS for row in rows], pa.timestamp("ms", tz="UTC")),
            "raw_key": pa.array(columns["key"], pa.binary()),
            "raw_value": pa.array(columns["value"], pa.binary()),
            "event_id": pa.array(np.where(valid, columns["event_id"], None), pa.string()),
            "event_time": pa.array([None] * len(self.chunk), pa.timestamp("us", tz="UTC")),
            "quantity": pa.array([None] * len(self.chunk), pa.int32()),
            "amount": pa.array([None] * len(self.chunk), pa.decimal128(18, 4)),
            "error_reason": pa.array(self.chunk.reason, pa.string()),
            "topic_epoch": pa.array([None] * len(self.chunk), pa.int32()),
            "rejudged_at": pa.array([None] * len(self.chunk), pa.timestamp("us", tz="UTC")),
            "kafka_headers": pa.array([None] * len(self.chunk), HEADERS),
        })  # fmt: skip


@pytest.fixture(scope="session")
def filled_lake(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Chunk]:
    """Return the folder of a filled workspace and its ledger, from which each test gets its copy, and their chunk."""
    folder, (chunk,) = tmp_path_factory.mktemp("audited"), chunks_of(OPTIONS)
    with closing(duckdb.connect(folder / WORKSPACE)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        AuditedLake(connection, load_settings(state_dir=folder), chunk).fill()
    return folder, chunk


@pytest.fixture
def lake(tmp_path: Path, filled_lake: tuple[Path, Chunk]) -> Iterator[AuditedLake]:
    """Yield the lake as it should be, in memory; the audit itself works on disk."""
    folder, chunk = filled_lake
    settings = load_settings(state_dir=tmp_path)
    shutil.copytree(load_settings(state_dir=folder).ledger_dir, settings.ledger_dir)
    with closing(duckdb.connect(":memory:")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{folder / WORKSPACE}' AS filled (READ_ONLY)")
        connection.execute("COPY FROM DATABASE filled TO memory; DETACH filled")
        yield AuditedLake(connection, settings, chunk)
