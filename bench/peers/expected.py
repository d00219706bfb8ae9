"""What a peer must have made of the topic, from the generator's ledger: each count, and each sum of gold to the cent."""

from __future__ import annotations

from pathlib import Path

import duckdb

# Reasons that end the decoding for a peer; a peer does not distinguish them.
UNDECODABLE = ("too_short", "bad_magic", "undecodable")
SENT = """
CREATE TABLE sent AS SELECT i.* FROM read_parquet($intended) AS i JOIN read_parquet($outcomes) AS o USING (run_id, sequence)
WHERE o.outcome = 'acknowledged'
"""
EXPECTED = """
SELECT count(*), count(reason), count_if(list_contains($undecodable, reason)), count_if(kind = 'good'),
       count_if(kind = 'good') FROM sent
"""
OBSERVED = """
SELECT count(*), count(error), count_if(error = 'undecodable'), (SELECT count(*) FROM silver),
       (SELECT count(DISTINCT event_id) FROM silver) FROM bronze
"""
COUNTED = ("records", "invalid", "undecodable", "silver rows", "different event ids")
GOLD_DIFFERENCES = """
WITH expected AS (
    SELECT epoch_ms(event_time)::BIGINT // 300000 * 300 AS window_start, plan_tier, region, currency,
           sum(net_amount)::DECIMAL(38, 4) AS revenue, count(*)::BIGINT AS events
    FROM sent WHERE kind = 'good' GROUP BY ALL
),
observed AS (
    SELECT window_start::BIGINT AS window_start, plan_tier, region, currency, revenue::DECIMAL(38, 4) AS revenue,
           events::BIGINT AS events FROM gold
)
SELECT (SELECT count(*) FROM (FROM expected EXCEPT ALL FROM observed))
     + (SELECT count(*) FROM (FROM observed EXCEPT ALL FROM expected))
"""


def peer_differences(ledger_dir: Path, output: Path) -> list[str]:
    """Return a sentence for each figure of a peer's output that is not the ledger's; none when all are equal.

    Shape: bronze(error), silver(event_id), gold(window_start in seconds, plan_tier, region, currency, revenue, events).
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        files = {"intended": f"{ledger_dir}/*/intended-*.parquet", "outcomes": f"{ledger_dir}/*/outcome-*.parquet"}
        connection.execute(SENT, files)
        for layer in ("bronze", "silver", "gold"):
            found = [str(path) for path in sorted((output / layer).rglob("*")) if path.is_file()]
            connection.read_parquet(found, union_by_name=True).create_view(layer)
        expected = connection.execute(EXPECTED, {"undecodable": list(UNDECODABLE)}).fetchall()[0]
        observed = connection.execute(OBSERVED).fetchall()[0]
        wrong = [
            f"{name}: {got:,} instead of {wanted:,}"
            for name, wanted, got in zip(COUNTED, expected, observed, strict=True)
            if wanted != got
        ]
        (rows,) = connection.execute(GOLD_DIFFERENCES).fetchall()[0]
    return [*wrong, *([f"gold: {rows:,} rows differ"] if rows else [])]
