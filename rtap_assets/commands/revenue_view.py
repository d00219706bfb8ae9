"""Revenue for the terminal: a table of the newest tumbling windows by plan tier, and a chart of each tier."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rtap_assets.config import Settings
from rtap_assets.contracts.rules import PLAN_TIERS
from rtap_assets.errors import ServingError

TIERS = tuple(dict.fromkeys(PLAN_TIERS.values()))
TIER_COLORS = {"free": "bright_black", "starter": "cyan", "pro": "green", "enterprise": "magenta"}
HEIGHTS = "▁▂▃▄▅▆▇█"
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
BAR_CELLS = 24
WINDOWS_SHOWN = 12


class RevenueRow(NamedTuple):
    """Net revenue of one tumbling window and tier, over all regions, in one currency."""

    window_start: datetime
    plan_tier: str
    currency: str
    net_amount: Decimal
    orders: int


class WindowRevenue(NamedTuple):
    """Net revenue of the newest tumbling window in one currency, over all tiers and regions."""

    window_start: datetime
    window_end: datetime
    currency: str
    net_amount: Decimal
    orders: int
    is_final: bool
    refreshed_at: datetime  # of the marts


def revenue_rows(settings: Settings) -> list[RevenueRow]:
    """Return the tumbling windows of the marts, by window, tier and currency.

    Raises:
        ServingError: there are no marts yet, or they cannot be read.
    """
    rows = _query_marts(
        settings,
        "SELECT window_start, plan_tier, currency, sum(net_amount), sum(orders)::BIGINT FROM tumbling_revenue "
        "GROUP BY ALL ORDER BY ALL",
    )
    return [RevenueRow(*row) for row in rows]


def newest_window(settings: Settings) -> list[WindowRevenue]:
    """Return the newest tumbling window of the marts by currency, most orders first; [] if they have none. Raises like
    `revenue_rows`.
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


def revenue_panel(
    rows: Sequence[RevenueRow], *, currency: str | None = None, windows: int = WINDOWS_SHOWN
) -> RenderableType:
    """Return a panel with the newest windows of one currency: amounts by tier, then a line and a bar per tier.

    Without `currency` it shows the one with the most orders: amounts of different currencies cannot be compared.
    """
    if not rows:
        return Panel(Text("No revenue yet."), title="Revenue", title_align="left", expand=False)
    chosen = currency or _busiest_currency(rows)
    amounts: dict[datetime, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in rows:
        if row.currency == chosen:
            amounts[row.window_start][row.plan_tier] += row.net_amount
    starts = sorted(amounts)[-windows:]
    shown = {start: amounts[start] for start in starts}
    tiers = [*TIERS, *sorted({tier for window in shown.values() for tier in window} - set(TIERS))]
    title = f"Net revenue by window and tier, {chosen}"
    return Panel(Group(_table(shown, tiers), Text(), _chart(shown, tiers)), title=title, title_align="left", expand=False)


def sparkline(values: Sequence[Decimal]) -> str:
    """Return one block per value, from the lowest to the highest; a value of zero or less is a space."""
    highest = max(values, default=Decimal(0))
    if highest <= 0:
        return " " * len(values)
    top = len(HEIGHTS) - 1
    return "".join(" " if value <= 0 else HEIGHTS[round(value / highest * top)] for value in values)


def bar(value: Decimal, highest: Decimal, *, cells: int = BAR_CELLS) -> str:
    """Return a horizontal bar in eighths of a cell; empty for zero or less."""
    if value <= 0 or highest <= 0:
        return ""
    eighths = max(1, round(value / highest * cells * 8))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8]


def _busiest_currency(rows: Sequence[RevenueRow]) -> str:
    orders = Counter[str]()
    for row in rows:
        orders[row.currency] += row.orders
    return max(sorted(orders), key=lambda code: orders[code])


def _table(amounts: dict[datetime, dict[str, Decimal]], tiers: Sequence[str]) -> Table:
    table = Table("window (UTC)", box=None, pad_edge=False, header_style="bold")
    for tier in [*tiers, "all tiers"]:
        table.add_column(tier, justify="right", style=TIER_COLORS.get(tier, ""))
    for start, by_tier in amounts.items():
        cells = [by_tier.get(tier, Decimal(0)) for tier in tiers]
        table.add_row(f"{start:%Y-%m-%d %H:%M}", *(f"{cell:,.2f}" for cell in cells), f"{sum(cells, Decimal(0)):,.2f}")
    return table


def _chart(amounts: dict[datetime, dict[str, Decimal]], tiers: Sequence[str]) -> Table:
    series = {tier: [by_tier.get(tier, Decimal(0)) for by_tier in amounts.values()] for tier in tiers}
    totals = {tier: sum(values, Decimal(0)) for tier, values in series.items()}
    chart = Table(box=None, pad_edge=False, show_header=False)
    for tier in tiers:
        style = TIER_COLORS.get(tier, "")
        chart.add_row(
            Text(tier, style=style),
            Text(sparkline(series[tier]), style=style),
            Text(f"{totals[tier]:,.2f}", justify="right"),
            Text(bar(totals[tier], max(totals.values())), style=style),
        )
    return chart
