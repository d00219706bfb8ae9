"""The audit's comparison on a small lake, made from a ledger: it holds, and each kind of damage is found and named."""

from __future__ import annotations

from collections import Counter

import pytest
from audited_lake import EVENTS, GOLD, AuditedLake

from rtap_assets.audit.report import HOLDS, NOTHING_TO_COMPARE, Report
from rtap_assets.audit.state import Consumed
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.chunks import DUPLICATE

OTHER_FRAMES = (Reason.UNSUPPORTED_FRAMING, Reason.NOT_AVRO)


def test_a_lake_that_is_right_holds_in_every_line(lake: AuditedLake) -> None:
    report, chunk = lake.report(), lake.chunk
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


def test_every_reason_of_the_contract_is_given_by_the_audits_own_judgement(lake: AuditedLake) -> None:
    given = lake.connection.execute("SELECT verdict, count(*) FROM records GROUP BY ALL").fetchall()
    # What is framed in another way has one reason here, and three in bronze.
    intended = [Reason.BAD_MAGIC if reason in OTHER_FRAMES else reason for reason in lake.chunk.reason]
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
def test_is_found(lake: AuditedLake, statement: str, lines: set[str], details: set[str]) -> None:
    lake.sql(statement)
    report = lake.report()
    without_currency = {f"net{name[7:]}" if name.startswith("net ") else name for name in report.broken}
    assert report.exit_code == 1
    assert lines <= without_currency
    assert set(report.damage) == details


def test_rows_are_late_only_below_the_watermark_that_can_have_judged_them(lake: AuditedLake) -> None:
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


def test_a_copy_that_came_after_its_id_was_forgotten_awaits_its_correction(lake: AuditedLake) -> None:
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


def test_what_silver_and_gold_have_still_to_read_is_in_flight_and_no_damage(lake: AuditedLake) -> None:
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


def test_records_beyond_bronzes_position_are_in_flight_also_in_the_ledger(lake: AuditedLake) -> None:
    for table in ("bronze_source", "silver_source", "records"):
        lake.sql(f"DELETE FROM {table} WHERE kafka_offset >= 180")
    lake.sql("DROP TABLE gold_source")
    lake.sql(GOLD)
    lake.sql("UPDATE ranges SET ends = 180")
    report = lake.report()
    assert (report.broken, set(report.damage)) == (set(), set())
    assert report.apart("in flight to bronze") == report.apart("in flight, of the ledger") == 60


def test_records_that_no_run_intended_are_those_of_other_producers(lake: AuditedLake) -> None:
    (path,) = lake.settings.ledger_dir.glob("*/outcome-*.parquet")
    path.unlink()
    (path,) = lake.settings.ledger_dir.glob("*/intended-*.parquet")
    path.unlink()
    report = lake.report()
    assert report.holds
    assert report.apart("other producers") == EVENTS


def test_offsets_that_retention_took_are_counted_and_judged_from_bronze(lake: AuditedLake) -> None:
    lake.sql("UPDATE ranges SET oldest = 100")
    lake.sql("UPDATE records SET in_topic = false WHERE kafka_offset < 100")
    report = lake.report()
    assert report.holds
    assert report.apart("no longer in the topic") == 300


def test_an_offset_that_nobody_can_be_given_any_more_is_unexplained_unless_it_is_recorded(lake: AuditedLake) -> None:
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


def test_a_gap_that_the_broker_itself_proves_is_counted_apart(lake: AuditedLake) -> None:
    lake.sql("UPDATE ranges SET ends = ends + 5, topic_end = topic_end + 5")
    report = lake.report()
    assert report.holds
    assert report.apart("offsets without a record") == 15


def test_a_position_beyond_the_topics_end_does_not_hold(lake: AuditedLake) -> None:
    lake.sql("UPDATE ranges SET topic_end = 20")
    assert lake.report().broken >= {"positions within the topic"}


def test_a_silver_that_has_read_nothing_is_no_success(lake: AuditedLake) -> None:
    lake.sql("DELETE FROM silver_source; DELETE FROM gold_source")
    lake.silver = lake.gold = Consumed(None)
    report = lake.report()
    assert report.holds
    assert report.exit_code == NOTHING_TO_COMPARE
