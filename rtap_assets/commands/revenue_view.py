"""Revenue for the terminal: the newest tumbling window of gold, by currency."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from rtap_assets.config import Settings
from rtap_assets.errors import ServingError

NEWEST_WINDOW = """
WITH tumbling AS (FROM gold WHERE epoch_us(window_start) % (epoch_us(window_end) - epoch_us(window_start)) = 0)
SELECT
    window_start, window_end, currency, sum(net_amount), sum(orders)::BIGINT,
    coalesce(window_end <= $watermark::TIMESTAMPTZ, false), max(updated_at)
FROM tumbling
WHERE window_start = (SELECT max(window_start) FROM tumbling)
GROUP BY window_start, window_end, currency
ORDER BY 5 DESC, 3
"""


class WindowRevenue(NamedTuple):
    """Net revenue of the newest tumbling window in one currency, over all tiers and regions."""

    window_start: datetime
    window_end: datetime
    currency: str
    net_amount: Decimal
    orders: int
    is_final: bool
    updated_at: datetime  # the micro-batch that last changed it


def newest_window(settings: Settings) -> list[WindowRevenue]:
    """Return the newest tumbling window of gold's newest snapshot by currency, most orders first; [] if it has none.

    Raises:
        ServingError: the lake cannot be read.
        DependencyUnavailable: the catalog did not answer.
    """
    import duckdb

    from rtap_assets.contracts.tables import GOLD
    from rtap_assets.lake.catalog import sqlite_path
    from rtap_assets.serving.connection import connect_lake
    from rtap_assets.serving.lake_files import plan_lake

    if not settings.catalog_uri and not sqlite_path(settings).exists():
        return []  # looking makes no lake
    plans = plan_lake(settings, (GOLD,))
    try:
        with connect_lake(settings, plans) as connection:
            rows = connection.execute(NEWEST_WINDOW, {"watermark": plans[GOLD.view].watermark}).fetchall()
    except duckdb.Error as error:
        raise ServingError(f"Gold cannot be read: {error}.", remedy="Try again; if it persists, check the disk.") from error
    return [WindowRevenue(*row) for row in rows]
