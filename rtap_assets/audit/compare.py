"""Compares the loaded state: topic with bronze, bronze with silver, silver with gold, as sections of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import duckdb

from rtap_assets.audit.report import Apart, DetailSet, Line, Section
from rtap_assets.audit.state import LakeState
from rtap_assets.audit.workspace import MOST_DETAIL_ROWS, one, sql

BRONZE_DAMAGE = {
    "missing_in_bronze": "in the topic, not in bronze",
    "not_in_topic": "in bronze, but no committed reader of the topic receives it",
    "doubled_in_bronze": "one Kafka record in several rows of bronze",
    "altered": "key, value or timestamp differ from the record's",
    "wrong_verdict": "bronze's verdict differs from the contract's",
    "wrong_values": "a valid row whose values differ from the record's",
}
SILVER_DAMAGE = {
    "lost_before_silver": "valid and read, not in silver, and not late",
    "doubled_in_silver": "one event in several rows of silver",
    "unfounded_in_silver": "in silver without a valid row of bronze",
    "silver_differs": "a row of silver that differs from its record",
}
GOLD_DAMAGE = {"gold_differs": "a window that differs from the sum of silver's events"}
GAP_MEANINGS = {
    "control": "offsets of transaction markers",
    "aborted": "records of aborted transactions",
    "compacted": "removed by the topic's compaction",
    "deleted": "removed by an operator before they were read",
    "lost": "recorded as lost",
    "erased": "erased on request",
    "removed": "removed from the topic",
}


def compare_bronze(connection: duckdb.DuckDBPyConnection, _state: LakeState) -> Section:
    """Compare topic and bronze, record by record, up to bronze's position."""
    if not one(connection, "SELECT count(*) AS n FROM ranges")["n"]:
        return Section("Topic = bronze", incomplete="bronze has read nothing yet.")
    connection.execute("DELETE FROM bronze_findings")
    for epoch, partition in connection.execute("SELECT topic_epoch, kafka_partition FROM ranges ORDER BY ALL").fetchall():
        connection.execute(sql("bronze"), {"epoch": epoch, "partition": partition})
    connection.execute(sql("excused"))
    counts = one(connection, sql("bronze_counts"))
    unexplained = max(0, counts["vanished"] - counts["recorded"])
    found = dict(connection.execute("SELECT finding, count(*) FROM bronze_findings GROUP BY ALL").fetchall())
    altered, missing = found.get("altered", 0), found.get("missing_in_bronze", 0)
    read, invalid = counts["read"] - counts["excused"], counts["invalid"]
    lines = [
        equation("records of the topic = rows of bronze", read, counts["held"], note=_parts(counts)),
        equation("key, value, timestamp: equal", read - missing, read - missing - altered),
        equation("verdict: equal", counts["judged"], counts["judged"] - found.get("wrong_verdict", 0),
              note=f"{counts['judged'] - invalid} valid + {invalid} quarantined"),
        equation("offsets up to bronze's position: explained", counts["offsets"], counts["offsets"] - unexplained),
    ]  # fmt: skip
    other = one(connection, "SELECT count(*) AS n FROM bronze_other")["n"]
    if other:
        lines.append(equation("rows of another topic", 0, other))
    if counts["beyond"]:
        lines.append(Line("positions within the topic", "0", str(counts["beyond"]), equal=False,
                          note="the topic was recreated or truncated"))  # fmt: skip
    damage = damaged(connection, BRONZE_DAMAGE, "SELECT kafka_partition, kafka_offset, audit_verdict, bronze_reason "
                     "FROM bronze_findings WHERE finding = '{name}'")  # fmt: skip
    return Section("Topic = bronze", tuple(lines), tuple(_bronze_apart(connection, counts)), tuple(damage))


def compare_silver(connection: duckdb.DuckDBPyConnection, state: LakeState) -> Section:
    """Compare bronze and silver: the outcome of each valid row that silver has read, and each row's values."""
    title = "Bronze = silver"
    rows = one(
        connection, "SELECT (SELECT count(*) FROM bronze_rows) AS bronze, (SELECT count(*) FROM silver_rows) AS silver"
    )
    if state.silver.position is None and not rows["silver"]:
        return Section(title, incomplete="silver has read nothing yet." if rows["bronze"] else "bronze holds no row.")
    if not state.silver.is_known:
        return Section(title, incomplete="silver's position is no longer in bronze's history.")
    connection.execute(sql("silver"))
    counts = one(connection, sql("silver_counts"))
    accounted = counts["kept"] + counts["copies"] + counts["late"] + counts["awaiting"]
    lines = [
        equation("valid rows read = silver + copies + late", counts["valid"], accounted,
              note=f"{counts['kept']} + {counts['copies']} + {counts['late']}"),
        equation("rows of silver = events + later copies", counts["silver"], counts["events"] + counts["awaited"]),
        equation("values of silver: equal", counts["silver"], counts["silver"] - counts["differing"]),
    ]  # fmt: skip
    if counts["late"]:
        exact = f"{counts['exact']} by their batch's own watermark"
        lines.append(equation("late = older than the watermark", counts["late"], counts["late"], note=exact))
    money = "SELECT currency, coalesce(audit_net, 0), coalesce(silver_net, 0), equal FROM money_in_silver ORDER BY ALL"
    for currency, audit_net, silver_net, equal in connection.execute(money).fetchall():
        lines.append(Line(f"net {currency}: topic = silver", str(audit_net), str(silver_net), bool(equal)))
    apart = (
        Apart("in flight to silver", counts["in_flight"], "rows of bronze that silver has not read yet"),
        Apart("copies", counts["copies"], "copies of an event that silver holds"),
        Apart("late, awaiting correction", counts["late"], "arrived after the watermark of the batch that read them"),
        Apart("other rows, awaiting correction", counts["awaiting"], "judged again, or planned by a pending correction"),
        Apart("later copies, awaiting correction", counts["awaited"], "arrived after their id had left the state"),
        Apart("late, corrected", counts["corrected"], "added to silver by a correction"),
        Apart("conflicting", counts["conflicting"], "copies whose content differs from silver's row"),
    )
    changes = connection.execute("SELECT cause, added, removed FROM corrected ORDER BY ALL").fetchall()
    done = [
        Apart(f"corrected: {cause}", added + removed, f"{added:,} added, {removed:,} removed")
        for cause, added, removed in changes
    ]
    damage = damaged(connection, SILVER_DAMAGE, "FROM detail_{name}")
    return Section(title, tuple(lines), present((*apart, *done)), tuple(damage))


def compare_gold(connection: duckdb.DuckDBPyConnection, state: LakeState) -> Section:
    """Compare silver and gold: every window, and the sums of the tumbling ones per currency."""
    title = "Silver = gold"
    rows = one(connection, "SELECT (SELECT count(*) FROM silver_rows) AS silver, (SELECT count(*) FROM gold_rows) AS gold")
    if not rows["silver"] and not rows["gold"]:
        return Section(title, incomplete="silver holds no event." if state.ends else "")
    if state.gold.position is None and not rows["gold"]:
        return Section(title, incomplete="gold has read nothing yet.")
    if not state.gold.is_known:
        return Section(title, incomplete="gold's position is no longer in silver's history.")
    connection.execute(sql("gold"))
    counts = one(connection, sql("gold_counts"))
    lines = [equation("windows of gold = windows of silver", counts["expected"], counts["expected"] - counts["differing"])]
    money = "SELECT currency, silver_net, gold_net, equal, orders, refunds FROM money_in_gold ORDER BY ALL"
    for currency, silver_net, gold_net, equal, orders, refunds in connection.execute(money).fetchall():
        note = f"{orders} orders, {refunds} refunds"
        lines.append(Line(f"net {currency}: silver = gold", str(silver_net), str(gold_net), bool(equal), note))
    apart = (
        Apart("in flight to gold", counts["in_flight"], "rows of silver that gold has not read yet"),
        Apart("windows awaiting correction", counts["awaited"], "touched by a correction that has not ended"),
        Apart("windows restated", counts["restated"], "changed by a correction after their stream had written them"),
    )
    return Section(title, tuple(lines), present(apart), tuple(damaged(connection, GOLD_DAMAGE, "FROM detail_{name}")))


def _parts(counts: Mapping[str, int]) -> str:
    return f"{counts['gone']} of them only in bronze" if counts["gone"] else ""


def _bronze_apart(connection: duckdb.DuckDBPyConnection, counts: Mapping[str, int]) -> Iterable[Apart]:
    reasons = connection.execute(
        "SELECT verdict, count(*) FROM records WHERE verdict IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1"
    ).fetchall()
    gaps = connection.execute("SELECT kind, sum(records)::BIGINT FROM gaps GROUP BY ALL ORDER BY ALL")
    yield from present((
        Apart("in flight to bronze", counts["in_flight"], "offsets of the topic beyond bronze's position"),
        Apart("no longer in the topic", counts["gone"], "judged from bronze's raw bytes; not comparable with the topic"),
        Apart("of an earlier topic of this name", counts["earlier"], "among the records no longer in the topic"),
        Apart("of a schema registered since", counts["since"], "quarantined for an unknown id; see `rtap dlq rejudge`"),
        Apart("redriven", counts["redriven"], "sent again from the dead-letter topic"),
        Apart("judged again", counts["rejudged"], "verdict changed by `rtap dlq rejudge`"),
        Apart("offsets without a record", counts["unreadable"], "no committed reader receives them"),
    ))  # fmt: skip
    for kind, count in gaps.fetchall():
        yield Apart(f"gap: {kind}", int(count), GAP_MEANINGS.get(kind, "recorded in quality.offset_gaps"))
    for reason, count in reasons:
        yield Apart(f"quarantined: {reason}", int(count), "")


def present(apart: Iterable[Apart]) -> tuple[Apart, ...]:
    return tuple(found for found in apart if found.count)


def equation(name: str, left: int, right: int, *, note: str = "") -> Line:
    return Line(name, str(left), str(right), left == right, note)


def damaged(connection: duckdb.DuckDBPyConnection, meanings: Mapping[str, str], select: str) -> Iterable[DetailSet]:
    """Yield the sets that should be empty and are not, each with its first rows."""
    for name, meaning in meanings.items():
        statement = select.format(name=name)
        count = one(connection, f"SELECT count(*) AS n FROM ({statement})")["n"]
        if count:
            shown = connection.execute(f"FROM ({statement}) ORDER BY ALL LIMIT {MOST_DETAIL_ROWS}")
            columns = tuple(column[0] for column in shown.description or ())
            yield DetailSet(name, meaning, int(count), columns, tuple(shown.fetchall()))
