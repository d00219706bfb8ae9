"""A reader of the published folder, for a process of its own: it reads in a loop and judges every row that it gets.

The data tell which version they are from: in version v the windows 0 to v exist, and the amount of window w is
`1000 w + min(v, w + CHANGES)`; so each window changes with the first CHANGES versions after its own and then rests.
"""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import duckdb

START = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
WINDOW_MINUTES = 6
CHANGES = 12
TIERS = ("free", "pro")
REGIONS = ("emea", "na")

GOLD_AT_VERSION = f"""
SELECT
    TIMESTAMPTZ '{START.isoformat()}' + to_minutes({WINDOW_MINUTES} * w) AS window_start,
    window_start + to_minutes({WINDOW_MINUTES}) AS window_end,
    tier AS plan_tier,
    region,
    'EUR' AS currency,
    (1000 * w + least($version, w + {CHANGES}))::DECIMAL(28, 4) AS gross_amount,
    0::DECIMAL(28, 4) AS refund_amount,
    gross_amount AS net_amount,
    hash(w, least($version, w + {CHANGES}), tier)::HUGEINT % 1000000 AS orders,
    0::BIGINT AS refunds,
    0 AS revision,
    window_start AS updated_at
FROM range($version + 1) AS windows(w), unnest({list(TIERS)}) AS tiers(tier), unnest({list(REGIONS)}) AS regions(region)
"""


def utc_connection() -> duckdb.DuckDBPyConnection:
    """An in-memory connection that shows instants in UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def read_until(stop: Event, folder: Path, announced: Any, published: Any, reads: Any, faults: Any) -> None:
    """Read until `stop` is set. `announced` and `published` are the newest versions before and after each swap."""
    kept_open = utc_connection()
    try:
        while not stop.is_set():
            oldest = published.value
            rows = read_folder(kept_open if reads.value % 2 else utc_connection(), folder)
            judge(rows, oldest=oldest, newest=announced.value)
            reads.value += 1
    except (duckdb.Error, AssertionError):
        faults.put(traceback.format_exc())


def judge(rows: list[tuple[Any, ...]], *, oldest: int, newest: int) -> None:
    """Each window and key is there exactly once, as in one of the versions from `oldest` to `newest`."""
    seen = set()
    for window_start, tier, region, gross, net, window_date in rows:
        window = round((window_start - START) / timedelta(minutes=WINDOW_MINUTES))
        assert (window, tier, region) not in seen, f"double: {window_start} {tier} {region}"
        seen.add((window, tier, region))
        assert window_date == window_start.date()
        assert gross == net
        low, high = (1000 * window + min(version, window + CHANGES) for version in (oldest, newest))
        assert low <= gross <= high, f"window {window} has {gross}, not from versions {oldest} to {newest}"
    expected = {(window, tier, region) for window in range(oldest + 1) for tier in TIERS for region in REGIONS}
    assert expected <= seen, f"missing: {sorted(expected - seen)[:3]}"


def read_folder(connection: duckdb.DuckDBPyConnection, folder: Path) -> list[tuple[Any, ...]]:
    """Return the rows of the published folder as any reader with a pattern gets them."""
    return connection.execute(
        "SELECT window_start, plan_tier, region, gross_amount, net_amount, window_date "
        f"FROM read_parquet('{folder}/current/**/*.parquet', hive_partitioning = true)"
    ).fetchall()
