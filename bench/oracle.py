"""Compare what a measured run left in its lake with the generator's ledger: record counts, and money to the cent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.catalog.sql import SqlCatalog

# What a run must hold, each as (layer, what): numbers from the ledger, from which both sides are compared.
EXPECTED = """
WITH sent AS (
    SELECT i.* FROM read_parquet($intended) AS i JOIN read_parquet($outcomes) AS o USING (run_id, sequence)
    WHERE o.outcome = 'acknowledged'
),
events AS (SELECT * FROM sent WHERE kind = 'good')
SELECT 'bronze rows', '', count(*)::VARCHAR FROM sent
UNION ALL SELECT 'bronze quarantined', '', count(*)::VARCHAR FROM sent WHERE kind = 'bad'
UNION ALL SELECT 'silver events', '', count(*)::VARCHAR FROM events
UNION ALL SELECT 'silver net', currency, sum(net_amount)::VARCHAR FROM events GROUP BY currency
UNION ALL SELECT 'gold net', currency, sum(net_amount)::VARCHAR FROM events GROUP BY currency
"""
# Sliding windows cover each event five times; those that begin at whole five minutes cover it once.
OBSERVED = """
SELECT 'bronze rows', '', count(*)::VARCHAR FROM bronze
UNION ALL SELECT 'bronze quarantined', '', count(*)::VARCHAR FROM bronze WHERE error_reason IS NOT NULL
UNION ALL SELECT 'silver events', '', count(DISTINCT event_id)::VARCHAR FROM silver
    HAVING count(*) = count(DISTINCT event_id)
UNION ALL SELECT 'silver net', currency, sum(net_amount)::VARCHAR FROM silver GROUP BY currency
UNION ALL SELECT 'gold net', currency, sum(net_amount)::DECIMAL(38, 4)::VARCHAR FROM gold
    WHERE epoch(window_start) % 300 = 0 GROUP BY currency
"""
TABLES = {
    "bronze": ("bronze.sales_events", ("error_reason",)),
    "silver": ("silver.sales_events", ("event_id", "currency", "net_amount")),
    "gold": ("gold.revenue_5m", ("window_start", "currency", "net_amount")),
}


def differences(ledger_dir: Path, state_dir: Path) -> list[str]:
    """Return one sentence for each figure of the lake in `state_dir` that is not the ledger's; none when all are equal."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        files = {"intended": f"{ledger_dir}/*/intended-*.parquet", "outcomes": f"{ledger_dir}/*/outcome-*.parquet"}
        expected = _figures(connection.execute(EXPECTED, files).fetchall())
        catalog = SqlCatalog("lake", uri=f"sqlite:///{state_dir / 'lake' / 'catalog.db'}")
        for view, (identifier, columns) in TABLES.items():
            connection.register(view, catalog.load_table(identifier).scan(selected_fields=columns).to_arrow())
        observed = _figures(connection.execute(OBSERVED).fetchall())
    return [
        f"{what} {detail}: {observed.get((what, detail), 'none')} instead of {expected.get((what, detail), 'none')}"
        for what, detail in sorted(expected.keys() | observed.keys())
        if expected.get((what, detail)) != observed.get((what, detail))
    ]


def _figures(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str], str]:
    return {(what, detail): number for what, detail, number in rows}
