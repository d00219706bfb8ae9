"""Revenue for the terminal: the newest tumbling window of the marts, by currency."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from rtap_assets.config import Settings
from rtap_assets.errors import ServingError


class WindowRevenue(NamedTuple):
    """Net revenue of the newest tumbling window in one currency, over all tiers and regions."""

    window_start: datetime
    window_end: datetime
    currency: str
    net_amount: Decimal
    orders: int
    is_final: bool
    refreshed_at: datetime  # of the marts


def newest_window(settings: Settings) -> list[WindowRevenue]:
    """Return the newest tumbling window of the marts by currency, most orders first; [] if they have none.

    Raises:
        ServingError: there are no marts yet, or they cannot be read.
    """
    rows = _query_marts(
        settings,
        "SELECT window_start, window_end, currency, sum(net_amount), sum(orders)::BIGINT, bool_and(is_final), "
        "(SELECT refreshed_at FROM refresh) FROM tumbling_revenue "
        "WHERE window_start = (SELECT max(window_start) FROM tumbling_revenue) GROUP BY ALL ORDER BY 5 DESC, 3",
    )
    return [WindowRevenue(*row) for row in rows]


def _query_marts(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    import duckdb

    if not settings.marts_path.exists():
        raise ServingError("There are no marts yet.", remedy="Build them: `rtap marts refresh`.")
    try:
        with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(statement).fetchall()
    except duckdb.Error as error:
        raise ServingError(f"The marts cannot be read: {error}.", remedy="Rebuild them: `rtap marts refresh`.") from error
