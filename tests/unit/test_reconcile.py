"""The oracle's comparison on a small lake, made by hand from a ledger: it holds, and each kind of damage is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from generator_fixtures import chunks_of
from rich.console import Console

from rtap_assets.commands.reconcile import show_reconciliation
from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.chunks import DUPLICATE, Chunk
from rtap_assets.generator.events import objects
from rtap_assets.generator.ledger import ACKNOWLEDGED, LedgerWriter, Outcomes, outcome_table, write_durably
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.generator.reconcile import Reconciliation, reconcile

RUN = "run-1"
OPTIONS = GeneratorOptions(events=600, span_seconds=1800, duplicates=0.05, invalid=0.1, reasons=tuple(Reason))
KAFKA_PARTITIONS = 3

# A record's place: its sequence number is dealt out over the Kafka partitions. A later copy is not in silver.
SILVER = """
CREATE TABLE silver AS
SELECT * EXCLUDE (copy) FROM (
    SELECT l.event_id, l.event_time, l.event_type, l.account_id, l.plan_tier, l.region, l.currency, l.amount, l.net_amount,
           l.schema_version, 'sales.events.v1' AS topic, (l.sequence % 3)::INTEGER AS kafka_partition,
           l.sequence // 3 AS kafka_offset, row_number() OVER (PARTITION BY l.event_id ORDER BY l.sequence) AS copy
    FROM read_parquet('{ledger}/*/intended-*.parquet') AS l WHERE l.kind <> 'bad'
) WHERE copy = 1
"""
GOLD = """
CREATE TABLE gold AS
WITH starts AS (
    SELECT unnest(generate_series(first_start, last_start, INTERVAL 1 MINUTE)) AS window_start
    FROM (
        SELECT date_trunc('hour', min(event_time)) - INTERVAL 1 HOUR AS first_start, max(event_time) AS last_start
        FROM silver
    )
)
SELECT window_start, window_start + INTERVAL 5 MINUTE AS window_end, plan_tier, region, currency,
       sum(if(event_type = 'refund', 0, net_amount))::DECIMAL(28, 4) AS gross_amount,
       sum(if(event_type = 'refund', -net_amount, 0))::DECIMAL(28, 4) AS refund_amount,
       sum(net_amount)::DECIMAL(28, 4) AS net_amount,
       count_if(event_type <> 'refund')::BIGINT AS orders, count_if(event_type = 'refund')::BIGINT AS refunds
FROM starts JOIN silver ON event_time >= window_start AND event_time < window_start + INTERVAL 5 MINUTE
GROUP BY ALL
"""


def all_acknowledged(chunk: Chunk) -> Outcomes:
    sequence = np.arange(len(chunk))
    partition = (sequence % KAFKA_PARTITIONS).astype(np.int32)
    return Outcomes(objects([ACKNOWLEDGED] * len(chunk)), partition, sequence // KAFKA_PARTITIONS)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


@pytest.fixture
def chunk() -> Chunk:
    (made,) = chunks_of(OPTIONS)
    return made


@pytest.fixture
def lake(settings: Settings, chunk: Chunk) -> Iterator[duckdb.DuckDBPyConnection]:
    """Bronze, silver and gold as they should be after the chunk, and its ledger."""
    places = all_acknowledged(chunk)
    writer = LedgerWriter(settings.ledger_dir, RUN)
    writer.intend(chunk)
    writer.settle(chunk, places)
    records = pa.table(
        {
            "topic": pa.array(["sales.events.v1"] * len(chunk)),
            "kafka_partition": pa.array(places.kafka_partition),
            "kafka_offset": pa.array(places.kafka_offset),
            "raw_value": pa.array(chunk.columns["value"], pa.binary()),
            "event_id": pa.array(chunk.columns["event_id"], pa.string()),
            "error_reason": pa.array(chunk.reason, pa.string()),
        }
    )
    with closing(duckdb.connect(":memory:")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("records", records)
        connection.execute("CREATE TABLE bronze AS FROM records")
        connection.execute(SILVER.format(ledger=settings.ledger_dir))
        connection.execute(GOLD)
        yield connection


def broken(result: Reconciliation) -> set[str]:
    return {line.name for line in result.lines if not line.equal}


def damaged(result: Reconciliation) -> set[str]:
    return {detail.name for detail in result.damage}


def test_a_lake_that_is_right_holds_in_every_line(lake: duckdb.DuckDBPyConnection, settings: Settings, chunk: Chunk) -> None:
    result = reconcile(lake, settings)
    assert (broken(result), damaged(result), result.holds) == (set(), set(), True)
    lines = {line.name: line for line in result.lines}
    duplicates = int((chunk.kind == DUPLICATE).sum())
    invalid = sum(reason is not None for reason in chunk.reason)
    assert lines["valid = silver + duplicates + late"].note == f"{600 - invalid - duplicates} + {duplicates} + 0"
    assert lines["consumed = valid + invalid"].right == "600"
    assert {f"{reason}: ledger = bronze" for reason in Reason} <= set(lines)
    assert {name[4:7] for name in lines if name.endswith("silver = gold")} == set(chunk.columns["currency"].tolist())


def test_a_locked_connection_is_enough(lake: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    lake.execute("SET enable_external_access = false")
    lake.execute("SET lock_configuration = true")
    assert reconcile(lake, settings).holds


def test_without_ledger_and_rows_everything_is_zero_and_holds(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for table in ("bronze", "silver", "gold"):
        lake.execute(f"DELETE FROM {table}")
    assert reconcile(lake, load_settings(state_dir=tmp_path / "elsewhere")).holds


NET_LINES = {"net: ledger = silver", "net: silver = gold"}
ANY_VALID = "(SELECT min(kafka_offset) FROM silver WHERE kafka_partition = 0)"
DAMAGES: dict[str, tuple[str, set[str], set[str]]] = {
    "a row that bronze lost": (
        f"DELETE FROM bronze WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}",
        {"acknowledged = acknowledged and in bronze", "valid = silver + duplicates + late"},
        {"lost", "silver_differs"},
    ),
    "a row that bronze has twice": (
        f"INSERT INTO bronze FROM bronze WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}",
        {"bronze rows = Kafka records in bronze"},
        {"doubled_in_bronze"},
    ),
    "a record that nobody intended": (
        "INSERT INTO bronze VALUES ('sales.events.v1', 1, 999999, 'x', NULL, 'too_short')",
        {"in bronze = in bronze and intended", "consumed = valid + invalid"},
        {"unintended"},
    ),
    "a row of another topic": (
        "INSERT INTO bronze VALUES ('other', 1, 999999, 'x', NULL, 'too_short')",
        {"bronze rows = Kafka records in bronze"},
        {"other_topic"},
    ),
    "a value with one byte changed": (
        f"UPDATE bronze SET raw_value = raw_value || '\\x00'::BLOB WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}",
        {"acknowledged = acknowledged and in bronze", "in bronze = in bronze and intended", "consumed = valid + invalid",
         "silver rows = as the ledger has them"},
        {"lost", "unintended", "silver_differs"},
    ),
    "a wrong reason": (
        "UPDATE bronze SET error_reason = 'undecodable' WHERE error_reason = 'trailing_bytes'",
        {"trailing_bytes: ledger = bronze", "undecodable: ledger = bronze"},
        {"wrong_reason"},
    ),
    "two reasons exchanged, which leaves the counts": (
        """UPDATE bronze SET error_reason = if(error_reason = 'tombstone', 'too_short', 'tombstone')
        WHERE (kafka_partition, kafka_offset) IN (
            (SELECT (kafka_partition, kafka_offset) FROM bronze WHERE error_reason = 'tombstone' LIMIT 1),
            (SELECT (kafka_partition, kafka_offset) FROM bronze WHERE error_reason = 'too_short' LIMIT 1))""",
        {"tombstone: ledger = bronze", "too_short: ledger = bronze"},
        {"wrong_reason"},
    ),
    "an event that silver has twice": (
        f"INSERT INTO silver FROM silver WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}",
        {"silver rows = distinct events", "valid = silver + duplicates + late", *NET_LINES},
        {"doubled_in_silver", "gold_differs"},
    ),
    "an amount that is wrong by a ten-thousandth": (
        f"UPDATE silver SET net_amount = net_amount + 0.0001 WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}",
        {"silver rows = as the ledger has them", *NET_LINES},
        {"silver_differs", "gold_differs"},
    ),
    "a code that was not normalised": (
        f"UPDATE silver SET region = ' EMEA ' WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}",
        {"silver rows = as the ledger has them"},
        {"silver_differs", "gold_differs"},
    ),
    "gold off by a cent in a window between the tumbling ones": (
        """UPDATE gold SET gross_amount = gross_amount + 0.01, net_amount = net_amount + 0.01
        WHERE rowid = (SELECT min(rowid) FROM gold WHERE minute(window_start) % 5 = 3)""",
        set(),
        {"gold_differs"},
    ),
    "gold off by a cent in a tumbling window": (
        """UPDATE gold SET gross_amount = gross_amount + 0.01
        WHERE rowid = (SELECT min(rowid) FROM gold WHERE minute(window_start) % 5 = 0)""",
        {"net: silver = gold"},
        {"gold_differs"},
    ),
    "a window that gold lost": ("DELETE FROM gold WHERE rowid = (SELECT min(rowid) FROM gold)", set(), {"gold_differs"}),
    "a window that gold has twice": (
        "INSERT INTO gold FROM gold WHERE rowid = (SELECT min(rowid) FROM gold WHERE minute(window_start) % 5 = 1)",
        set(),
        {"gold_differs"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("statement, lines, details", DAMAGES.values(), ids=DAMAGES.keys())
def test_is_found(
    lake: duckdb.DuckDBPyConnection, settings: Settings, statement: str, lines: set[str], details: set[str]
) -> None:
    lake.execute(statement)
    result = reconcile(lake, settings)
    without_currency = {f"net:{name[8:]}" if name.startswith("net ") else name for name in broken(result)}
    assert not result.holds
    assert lines <= without_currency
    assert damaged(result) == details


def test_an_event_that_is_not_in_silver_at_all_is_listed_as_late(
    lake: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    lake.execute(f"DELETE FROM silver WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}")
    lake.execute("DROP TABLE gold")
    lake.execute(GOLD)
    result = reconcile(lake, settings)
    assert result.holds
    assert result.details["late"].count >= 1


def test_conflicting_duplicates_are_counted_apart(lake: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    another = "(SELECT max(event_id) FROM silver)"
    lake.execute(f"UPDATE bronze SET event_id = {another} WHERE kafka_partition = 0 AND kafka_offset = {ANY_VALID}")
    result = reconcile(lake, settings)
    assert broken(result) == {"conflicting duplicates: ledger = bronze"}
    assert result.details["conflicting"].count == 1


def settle_as(settings: Settings, change: Callable[[Outcomes], None], chunk: Chunk) -> None:
    """Write the chunk's outcomes anew, changed."""
    outcomes = all_acknowledged(chunk)
    change(outcomes)
    (path,) = settings.ledger_dir.glob("*/outcome-*.parquet")
    write_durably(outcome_table(chunk, outcomes, run_id=RUN), path)


def test_unknown_outcomes_are_settled_by_the_bytes_in_bronze(
    lake: duckdb.DuckDBPyConnection, settings: Settings, chunk: Chunk
) -> None:
    def forget(outcomes: Outcomes) -> None:
        outcomes.outcome[:100] = "unknown"
        outcomes.kafka_partition[:100] = outcomes.kafka_offset[:100] = -1

    settle_as(settings, forget, chunk)
    result = reconcile(lake, settings)
    assert result.holds
    assert result.details["settled"].count == 100
    lake.execute("DELETE FROM bronze WHERE kafka_partition = 0 AND kafka_offset = 4 AND error_reason IS NOT NULL")
    lake.execute("DELETE FROM bronze WHERE error_reason IS NOT NULL AND kafka_offset < 30")
    assert reconcile(lake, settings).holds, "an unknown record may have got lost"


def test_a_run_that_was_killed_before_its_outcome_is_settled_likewise(
    lake: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    (path,) = settings.ledger_dir.glob("*/outcome-*.parquet")
    path.unlink()
    result = reconcile(lake, settings)
    assert result.holds
    assert result.details["settled"].count == 600


def test_a_failed_record_that_is_in_bronze_all_the_same_is_found(
    lake: duckdb.DuckDBPyConnection, settings: Settings, chunk: Chunk
) -> None:
    def fail(outcomes: Outcomes) -> None:
        outcomes.outcome[7] = "failed"
        outcomes.kafka_partition[7] = outcomes.kafka_offset[7] = -1

    settle_as(settings, fail, chunk)
    assert damaged(reconcile(lake, settings)) >= {"unintended"}


def test_the_table_shows_each_line_with_its_mark_and_the_damaged_records(
    lake: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    console = Console(record=True, width=160)
    lake.execute("UPDATE gold SET orders = orders + 1 WHERE rowid = (SELECT min(rowid) FROM gold)")
    show_reconciliation(reconcile(lake, settings), console)
    text = console.export_text()
    assert "✓" in text
    assert "✗" in text
    assert "only in gold" in text
    assert "Not every line holds." in text
