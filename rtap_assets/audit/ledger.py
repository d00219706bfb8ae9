"""Compares the generator's ledger, as one more oracle, with bronze and silver.

Compared up to bronze's position; records that no run intended come from other producers and are not damage.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.dataset as ds

from rtap_assets.audit.compare import damaged, equation, present
from rtap_assets.audit.report import Apart, Line, Section
from rtap_assets.audit.workspace import one, sql
from rtap_assets.config import Settings
from rtap_assets.generator.ledger import INTENDED, OUTCOME

DAMAGE = {
    "lost": "acknowledged, but not in bronze with the bytes that were sent",
    "unintended": "in bronze, though the broker refused it or its transaction was rolled back",
    "without_intention": "an outcome without an intended record in the ledger",
    "wrong_reason": "the ledger and bronze disagree about the reason",
    "ledger_differs": "a row of silver that differs from the ledger",
}
COUNTS = """
SELECT
    (SELECT count(*) FROM ledger WHERE outcome = 'acknowledged' AND NOT is_in_flight) AS acknowledged,
    (SELECT count(*) FROM ledger WHERE outcome = 'acknowledged' AND is_in_flight) AS in_flight,
    (SELECT count(*) FROM detail_lost) AS lost,
    (SELECT count(*) FROM matched) AS matched,
    (SELECT count(*) FROM detail_wrong_reason) AS wrong,
    (SELECT count(*) FROM silver_rows SEMI JOIN matched USING (topic_epoch, kafka_partition, kafka_offset)) AS in_silver,
    (SELECT count(*) FROM detail_ledger_differs) AS differing,
    (SELECT count(*) FROM ledger WHERE outcome = 'unknown') AS unknown,
    (SELECT count(*) FROM ledger WHERE outcome = 'rolled back') AS rolled_back,
    (SELECT count(*) FROM settled) AS settled,
    (SELECT count(*) FROM outcomes) AS outcomes,
    (SELECT count(*) FROM detail_without_intention) AS without_intention,
    (SELECT count(*) FROM of_others) AS others
"""


def has_ledger(settings: Settings) -> bool:
    """Return whether any run of the generator has left a ledger."""
    return any(settings.ledger_dir.glob("*/intended-*.parquet"))


def compare_ledger(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Section:
    """Compare the ledger of all runs with bronze and silver as loaded."""
    _provide(connection, settings.ledger_dir)
    try:
        connection.execute(sql("ledger"))
        return _section(connection)
    finally:
        for name in ("intended", "outcomes"):
            connection.unregister(name)


def _section(connection: duckdb.DuckDBPyConnection) -> Section:
    counts = one(connection, COUNTS)
    matched, in_silver = counts["matched"], counts["in_silver"]
    lines = [
        equation("acknowledged = in bronze", counts["acknowledged"], counts["acknowledged"] - counts["lost"]),
        equation("reasons: ledger = bronze", matched, matched - counts["wrong"]),
        equation("values: ledger = silver", in_silver, in_silver - counts["differing"]),
        equation("outcomes = intentions", counts["outcomes"], counts["outcomes"] - counts["without_intention"]),
    ]
    money = "SELECT currency, coalesce(ledger_net, 0), coalesce(silver_net, 0), equal FROM money_of_ledger ORDER BY ALL"
    for currency, ledger_net, silver_net, equal in connection.execute(money).fetchall():
        lines.append(Line(f"net {currency}: ledger = silver", str(ledger_net), str(silver_net), bool(equal)))
    apart = (
        Apart("in flight, of the ledger", counts["in_flight"], "acknowledged, beyond bronze's position"),
        Apart("outcome unknown", counts["unknown"], f"{counts['settled']} of them arrived"),
        Apart("rolled back", counts["rolled_back"], "sent in transactions that were not committed; in no layer"),
        Apart("other producers", counts["others"], "records of bronze that no run of the generator sent"),
    )
    return Section(
        "Generator's ledger", tuple(lines), present(apart), tuple(damaged(connection, DAMAGE, "FROM detail_{name}"))
    )


def _provide(connection: duckdb.DuckDBPyConnection, ledger_dir: Path) -> None:
    """Register the ledger's files as `intended` and `outcomes`, read on demand."""
    for table, pattern, schema in (
        ("intended", "*/intended-*.parquet", INTENDED),
        ("outcomes", "*/outcome-*.parquet", OUTCOME),
    ):
        paths = sorted(str(path) for path in ledger_dir.glob(pattern))
        connection.register(table, ds.dataset(paths, schema=schema) if paths else schema.empty_table())
