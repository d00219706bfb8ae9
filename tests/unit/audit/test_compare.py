"""The audit's comparison on a small lake, made from a ledger: it holds, and each kind of damage is found and named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from generator_fixtures import IDS, START, VERSIONS, chunks_of
from rich.console import Console

from rtap_assets.audit.compare import compare_bronze, compare_gold, compare_silver
from rtap_assets.audit.judging import Judge
from rtap_assets.audit.ledger import compare_ledger
from rtap_assets.audit.report import HOLDS, NOTHING_TO_COMPARE, Report
from rtap_assets.audit.schemas import WriterSchemas
from rtap_assets.audit.state import Consumed, LakeState
from rtap_assets.audit.topic import insert_records
from rtap_assets.audit.workspace import load_tables, sql
from rtap_assets.commands.reconcile import show_report
from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.avro.writer_schemas import RegisteredSchema
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.chunks import DUPLICATE, Chunk
from rtap_assets.generator.events import objects
from rtap_assets.generator.ledger import ACKNOWLEDGED, LedgerWriter, Outcomes, outcome_table, write_durably
from rtap_assets.generator.options import GeneratorOptions

RUN = "run-1"
EVENTS = 600
OPTIONS = GeneratorOptions(events=EVENTS, span_seconds=1800, duplicates=0.05, invalid=0.1, reasons=tuple(Reason))
KAFKA_PARTITIONS = 3
APPENDED_MS = int(START.timestamp() * 1000)
OTHER_FRAMES = (Reason.UNSUPPORTED_FRAMING, Reason.NOT_AVRO)
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
    """The registry's schemas: both versions, and one that calls the amount's scale two."""
    incompatible = json.loads(VERSIONS[0].text)
    next(field for field in incompatible["fields"] if field["name"] == "amount")["type"]["scale"] = 2
    found = {IDS.versions[version.version]: version.text for version in VERSIONS} | {14: json.dumps(incompatible)}
    return {str(schema_id): RegisteredSchema(text) for schema_id, text in found.items()}


def all_acknowledged(chunk: Chunk) -> Outcomes:
    sequence = np.arange(len(chunk))
    partition = (sequence % KAFKA_PARTITIONS).astype(np.int32)
    return Outcomes(objects([ACKNOWLEDGED] * len(chunk)), partition, sequence // KAFKA_PARTITIONS)


class Lake:
    """The audit's workspace with a topic, bronze, silver and gold as they should be after the chunk, and its ledger."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: Settings, chunk: Chunk) -> None:
        self.connection, self.settings, self.chunk = connection, settings, chunk
        self.ends = dict.fromkeys(range(KAFKA_PARTITIONS), EVENTS // KAFKA_PARTITIONS)
        self.silver = self.gold = ALL_READ
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


@pytest.fixture(scope="module")
def chunk() -> Chunk:
    (made,) = chunks_of(OPTIONS)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


@pytest.fixture
def lake(settings: Settings, chunk: Chunk) -> Iterator[Lake]:
    with closing(duckdb.connect(":memory:")) as connection:  # the audit itself works on disk
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(sql("schema"))
        yield Lake(connection, settings, chunk)


def test_a_lake_that_is_right_holds_in_every_line(lake: Lake, chunk: Chunk) -> None:
    report = lake.report()
    assert (report.broken, set(report.damage), report.exit_code) == (set(), set(), HOLDS)
    duplicates = int((chunk.kind == DUPLICATE).sum())
    invalid = sum(reason is not None for reason in chunk.reason)
    accounts = report.line("valid rows read = silver + copies + late")
    assert accounts.note == f"{EVENTS - invalid - duplicates} + {duplicates} + 0"
    assert report.line("verdict: equal").note == f"{EVENTS - invalid} valid + {invalid} quarantined"
    assert report.apart("copies") == duplicates
    reasons = {reason for reason in Reason if reason not in OTHER_FRAMES}
    assert {one.name for one in report.sections[0].apart} == {f"quarantined: {reason}" for reason in reasons}
    for name in ("topic = silver", "silver = gold", "ledger = silver"):
        assert {line for line in names(report) if line.startswith("net") and line.endswith(name)} == {
            f"net {currency}: {name}" for currency in set(chunk.columns["currency"].tolist())
        }


def names(report: Report) -> set[str]:
    return {line.name for section in report.sections for line in section.lines}


def test_every_reason_of_the_contract_is_given_by_the_audits_own_judgement(lake: Lake, chunk: Chunk) -> None:
    given = lake.connection.execute("SELECT verdict, count(*) FROM records GROUP BY ALL").fetchall()
    # What is framed in another way has one reason here, and three in bronze.
    intended = [Reason.BAD_MAGIC if reason in OTHER_FRAMES else reason for reason in chunk.reason]
    assert dict(given) == Counter(None if reason is None else str(reason) for reason in intended)


MONEY = {"net: topic = silver", "net: silver = gold", "net: ledger = silver"}
ANY_VALID = "(SELECT min(kafka_offset) FROM records WHERE kafka_partition = 0 AND verdict IS NULL)"
OF_BRONZE = f"bronze_source WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}"
OF_SILVER = f"kafka_partition = 0 AND kafka_offset = {ANY_VALID}"
DAMAGES: dict[str, tuple[str, set[str], set[str]]] = {
    "a row that bronze lost": (
        f"DELETE FROM {OF_BRONZE}",
        {"records of the topic = rows of bronze", "acknowledged = in bronze"},
        {"missing_in_bronze", "unfounded_in_silver", "lost"},
    ),
    "a row that bronze has twice": (
        f"INSERT INTO bronze_source FROM {OF_BRONZE}",
        {"records of the topic = rows of bronze"},
        {"doubled_in_bronze"},
    ),
    "a row that no committed reader of the topic is given": (
        "INSERT INTO bronze_source BY NAME SELECT 'sales.events.v1' AS topic, 1 AS kafka_partition, 999 AS kafka_offset, "
        "'too_short' AS error_reason",
        {"records of the topic = rows of bronze"},
        {"not_in_topic"},
    ),
    "a row of another topic": (
        "INSERT INTO bronze_source BY NAME SELECT 'other' AS topic, 1 AS kafka_partition, 999 AS kafka_offset",
        {"rows of another topic"},
        set(),
    ),
    "a value with one byte changed": (
        f"UPDATE bronze_source SET raw_value = raw_value || '\\x00'::BLOB WHERE {OF_SILVER}",
        {"key, value, timestamp: equal", "acknowledged = in bronze"},
        {"altered", "lost"},
    ),
    "a key changed": (
        f"UPDATE bronze_source SET raw_key = 'x'::BLOB WHERE {OF_SILVER}",
        {"key, value, timestamp: equal"},
        {"altered"},
    ),
    "a wrong reason": (
        "UPDATE bronze_source SET error_reason = 'undecodable' WHERE error_reason = 'trailing_bytes'",
        {"verdict: equal", "reasons: ledger = bronze"},
        {"wrong_verdict", "wrong_reason"},
    ),
    "a valid record that was quarantined": (
        f"UPDATE bronze_source SET error_reason = 'undecodable' WHERE {OF_SILVER}",
        {"verdict: equal"},
        {"wrong_verdict", "wrong_reason", "unfounded_in_silver"},
    ),
    "an amount that bronze decoded wrongly": (
        f"UPDATE bronze_source SET amount = amount + 0.0001 WHERE {OF_SILVER}", set(), {"wrong_values"},
    ),
    "an event that silver has twice": (
        f"INSERT INTO silver_source FROM silver_source WHERE {OF_SILVER}",
        {"rows of silver = events + later copies", *MONEY},
        {"doubled_in_silver", "gold_differs"},
    ),
    "a row that silver lost": (
        f"DELETE FROM silver_source WHERE {OF_SILVER}",
        {"valid rows read = silver + copies + late", "net: silver = gold"},
        {"lost_before_silver", "gold_differs"},
    ),
    "an amount that is wrong by a ten-thousandth": (
        f"UPDATE silver_source SET net_amount = net_amount + 0.0001 WHERE {OF_SILVER}",
        {"values of silver: equal", "values: ledger = silver", *MONEY},
        {"silver_differs", "ledger_differs", "gold_differs"},
    ),
    "a code that was not normalized": (
        f"UPDATE silver_source SET region = ' EMEA ' WHERE {OF_SILVER}",
        {"values of silver: equal", "values: ledger = silver"},
        {"silver_differs", "ledger_differs", "gold_differs"},
    ),
    "gold off by a cent in a window between the tumbling ones": (
        """UPDATE gold_source SET gross_amount = gross_amount + 0.01, net_amount = net_amount + 0.01
        WHERE rowid = (SELECT min(rowid) FROM gold_source WHERE minute(window_start) % 5 = 3)""",
        {"windows of gold = windows of silver"},
        {"gold_differs"},
    ),
    "gold off by a cent in a tumbling window": (
        """UPDATE gold_source SET gross_amount = gross_amount + 0.01
        WHERE rowid = (SELECT min(rowid) FROM gold_source WHERE minute(window_start) % 5 = 0)""",
        {"windows of gold = windows of silver", "net: silver = gold"},
        {"gold_differs"},
    ),
    "a window that gold lost": (
        "DELETE FROM gold_source WHERE rowid = (SELECT min(rowid) FROM gold_source)",
        {"windows of gold = windows of silver"},
        {"gold_differs"},
    ),
    "a window that gold has twice": (
        "INSERT INTO gold_source FROM gold_source WHERE rowid = (SELECT min(rowid) FROM gold_source)",
        {"windows of gold = windows of silver"},
        {"gold_differs"},
    ),
    "a silver that was emptied": (
        "DELETE FROM silver_source",
        {"valid rows read = silver + copies + late", "net: silver = gold"},
        {"lost_before_silver", "gold_differs"},
    ),
    "a silver that was emptied with gold": (
        "DELETE FROM silver_source; DELETE FROM gold_source",
        {"valid rows read = silver + copies + late"},
        {"lost_before_silver"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("statement, lines, details", DAMAGES.values(), ids=DAMAGES.keys())
def test_is_found(lake: Lake, statement: str, lines: set[str], details: set[str]) -> None:
    lake.sql(statement)
    report = lake.report()
    without_currency = {f"net{name[7:]}" if name.startswith("net ") else name for name in report.broken}
    assert report.exit_code == 1
    assert lines <= without_currency
    assert set(report.damage) == details


def test_a_list_that_was_cut_says_so(lake: Lake) -> None:
    lake.sql("DELETE FROM silver_source; DELETE FROM gold_source")
    console = Console(record=True, width=200)
    show_report(lake.report(), console)
    assert ", 20 of them shown" in console.export_text()


def test_rows_are_late_only_below_the_watermark_that_can_have_judged_them(lake: Lake) -> None:
    """Two files: what silver lacks of the second is late where it is older than the first's newest, less the delay."""
    lake.sql("UPDATE bronze_source SET filename = 'two.parquet' WHERE kafka_offset >= 100")
    lake.sql("INSERT INTO bronze_order VALUES ('two.parquet', 2, 0, NULL)")
    lake.sql("UPDATE bronze_source SET event_time = event_time - INTERVAL 1 DAY WHERE kafka_offset = 150")
    lake.sql("UPDATE records SET event_time = event_time - INTERVAL 1 DAY WHERE kafka_offset = 150")
    lake.sql("DELETE FROM silver_source WHERE kafka_offset IN (150, 199); DROP TABLE gold_source")
    lake.sql(GOLD)
    report = lake.report()
    absent = {(row[0], row[1]) for row in report.damage["lost_before_silver"].rows}
    assert {offset for _, offset in absent} == {199}
    assert report.apart("late, awaiting correction") >= 1
    lake.sql("UPDATE bronze_order SET watermark = TIMESTAMPTZ '0001-01-02' WHERE path = 'two.parquet'")
    assert {row[1] for row in lake.report().damage["lost_before_silver"].rows} == {150, 199}, "its batch had no watermark"


def test_a_copy_that_came_after_its_id_was_forgotten_awaits_its_correction(lake: Lake) -> None:
    lake.sql("UPDATE bronze_source SET filename = 'two.parquet' WHERE kafka_offset >= 100")
    lake.sql("INSERT INTO bronze_order VALUES ('two.parquet', 2, 0, NULL)")
    first, last = "kafka_partition = 0 AND kafka_offset = 10", "kafka_partition = 0 AND kafka_offset = 150"
    lake.sql(f"UPDATE records SET verdict = NULL, event_time = TIMESTAMPTZ '2026-05-01 08:00:00Z' WHERE {first}")
    lake.sql(f"UPDATE records SET verdict = NULL, event_uuid = (SELECT event_uuid FROM records WHERE {first}) WHERE {last}")
    for table in ("bronze_source", "silver_source"):
        lake.sql(f"UPDATE {table} SET event_id = r.event_uuid::VARCHAR, event_time = r.event_time FROM records AS r "
                 f"WHERE r.kafka_partition = {table}.kafka_partition AND r.kafka_offset = {table}.kafka_offset "
                 f"AND r.kafka_partition = 0 AND r.kafka_offset IN (10, 150)")  # fmt: skip
    report = lake.report()
    assert report.apart("later copies, awaiting correction") == 1
    assert "doubled_in_silver" not in report.damage


def test_what_silver_and_gold_have_still_to_read_is_in_flight_and_no_damage(lake: Lake) -> None:
    lake.sql("INSERT INTO bronze_unread_source FROM bronze_source WHERE kafka_offset >= 150")
    lake.sql("DELETE FROM silver_source WHERE kafka_offset >= 150; DROP TABLE gold_source")
    lake.sql(GOLD)
    lake.sql("INSERT INTO silver_unread_source FROM silver_source WHERE kafka_offset < 10")
    lake.sql(
        "CREATE TABLE kept AS FROM silver_source; DELETE FROM silver_source WHERE kafka_offset < 10; DROP TABLE gold_source"
    )
    lake.sql(GOLD)
    lake.sql("DROP TABLE silver_source; ALTER TABLE kept RENAME TO silver_source")
    report = lake.report()
    assert (report.broken, set(report.damage)) == (set(), set())
    assert report.apart("in flight to silver") == 150
    assert report.apart("in flight to gold") > 0


def test_records_beyond_bronzes_position_are_in_flight_also_in_the_ledger(lake: Lake) -> None:
    for table in ("bronze_source", "silver_source", "records"):
        lake.sql(f"DELETE FROM {table} WHERE kafka_offset >= 180")
    lake.sql("DROP TABLE gold_source")
    lake.sql(GOLD)
    lake.sql("UPDATE ranges SET ends = 180")
    report = lake.report()
    assert (report.broken, set(report.damage)) == (set(), set())
    assert report.apart("in flight to bronze") == report.apart("in flight, of the ledger") == 60


def test_records_that_no_run_intended_are_those_of_other_producers(lake: Lake) -> None:
    (path,) = lake.settings.ledger_dir.glob("*/outcome-*.parquet")
    path.unlink()
    (path,) = lake.settings.ledger_dir.glob("*/intended-*.parquet")
    path.unlink()
    report = lake.report()
    assert report.holds
    assert report.apart("other producers") == EVENTS


def test_offsets_that_retention_took_are_counted_and_judged_from_bronze(lake: Lake) -> None:
    lake.sql("UPDATE ranges SET oldest = 100")
    lake.sql("UPDATE records SET in_topic = false WHERE kafka_offset < 100")
    report = lake.report()
    assert report.holds
    assert report.apart("no longer in the topic") == 300


def test_an_offset_that_nobody_can_be_given_any_more_is_unexplained_unless_it_is_recorded(lake: Lake) -> None:
    lake.sql("UPDATE ranges SET oldest = 100")
    lake.sql("UPDATE records SET in_topic = false WHERE kafka_offset < 100")
    invalid = "(SELECT min(kafka_offset) FROM records WHERE kafka_partition = 1 AND verdict IS NOT NULL)"
    lake.sql(f"CREATE TABLE gone AS SELECT {invalid} AS kafka_offset")
    for table in ("bronze_source", "records"):
        lake.sql(f"DELETE FROM {table} WHERE kafka_partition = 1 AND kafka_offset = (FROM gone)")
    assert lake.report().broken >= {"offsets up to bronze's position: explained"}
    lake.sql("INSERT INTO gaps SELECT 0, 1, kafka_offset, kafka_offset, 1, 'aborted' FROM gone")
    report = lake.report()
    assert "offsets up to bronze's position: explained" not in report.broken
    assert report.apart("gap: aborted") == 1


def test_a_gap_that_the_broker_itself_proves_is_counted_apart(lake: Lake) -> None:
    lake.sql("UPDATE ranges SET ends = ends + 5, topic_end = topic_end + 5")
    report = lake.report()
    assert report.holds
    assert report.apart("offsets without a record") == 15


def test_a_position_beyond_the_topics_end_does_not_hold(lake: Lake) -> None:
    lake.sql("UPDATE ranges SET topic_end = 20")
    assert lake.report().broken >= {"positions within the topic"}


def test_where_nothing_was_read_nothing_holds(lake: Lake) -> None:
    for table in ("bronze_source", "silver_source", "gold_source", "records", "ranges"):
        lake.sql(f"DELETE FROM {table}")
    lake.ends, lake.silver, lake.gold = {}, Consumed(None), Consumed(None)
    for path in lake.settings.ledger_dir.glob("*/*.parquet"):
        path.unlink()
    report = lake.report()
    assert report.exit_code == NOTHING_TO_COMPARE
    console = Console(record=True, width=80)
    show_report(report, console)
    assert "Nothing to compare" in console.export_text()


def test_a_silver_that_has_read_nothing_is_no_success(lake: Lake) -> None:
    lake.sql("DELETE FROM silver_source; DELETE FROM gold_source")
    lake.silver = lake.gold = Consumed(None)
    report = lake.report()
    assert report.holds
    assert report.exit_code == NOTHING_TO_COMPARE


def settle_as(lake: Lake, change: Callable[[Outcomes], None]) -> None:
    """Write the chunk's outcomes again, changed."""
    outcomes = all_acknowledged(lake.chunk)
    change(outcomes)
    (path,) = lake.settings.ledger_dir.glob("*/outcome-*.parquet")
    write_durably(outcome_table(lake.chunk, outcomes, run_id=RUN), path)


def test_unknown_outcomes_are_settled_by_the_bytes_in_bronze(lake: Lake) -> None:
    def forget(outcomes: Outcomes) -> None:
        outcomes.outcome[:100] = "unknown"
        outcomes.kafka_partition[:100] = outcomes.kafka_offset[:100] = -1

    settle_as(lake, forget)
    report = lake.report()
    assert report.holds
    assert report.apart("outcome unknown") == 100
    assert report.apart("other producers") == 0


def test_a_run_that_was_killed_before_its_outcome_is_settled_likewise(lake: Lake) -> None:
    (path,) = lake.settings.ledger_dir.glob("*/outcome-*.parquet")
    path.unlink()
    report = lake.report()
    assert report.holds
    assert (report.apart("outcome unknown"), report.apart("other producers")) == (EVENTS, 0)


@pytest.mark.parametrize("outcome", ["failed", "rolled back"])
def test_a_record_that_the_broker_did_not_keep_and_that_is_in_bronze_is_found(lake: Lake, outcome: str) -> None:
    row = int(np.flatnonzero([reason is None for reason in lake.chunk.reason])[0])

    def fail(outcomes: Outcomes) -> None:
        outcomes.outcome[row] = outcome
        outcomes.kafka_partition[row] = outcomes.kafka_offset[row] = -1

    settle_as(lake, fail)
    assert "unintended" in lake.report().damage


def test_an_outcome_without_its_intention_is_found(lake: Lake) -> None:
    (path,) = lake.settings.ledger_dir.glob("*/intended-*.parquet")
    lake.sql(f"CREATE TABLE fewer AS FROM read_parquet('{path}') WHERE sequence <> 5")
    lake.sql(f"COPY fewer TO '{path}' (FORMAT parquet)")
    assert "without_intention" in lake.report().damage


def test_the_page_fits_80_columns_and_marks_what_does_not_hold(lake: Lake) -> None:
    console = Console(record=True, width=80)
    lake.sql("UPDATE gold_source SET orders = orders + 1 WHERE rowid = (SELECT min(rowid) FROM gold_source)")
    show_report(lake.report(), console)
    text = console.export_text()
    assert "✓" in text
    assert "✗ windows of gold = windows of silver" in text
    assert "finding differs" in text
    assert "Not every line holds." in text
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    assert max(len(line) for line in lines) <= 80
