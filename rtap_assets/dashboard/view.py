"""What a viewer chose to see, and the revenue as that view shows it. Pure; amounts cross the wire as decimal text.

Amounts are added within one currency alone. A window's breakdown by plan tier ignores the chosen tier, that by region the
chosen region, so that the others stay in sight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rtap_assets.dashboard.revenue_messages import MOST_TEXT, Measures, decimal_text
from rtap_assets.dashboard.revenue_store import Group, RevenueStore, Row, Window, status_of_all
from rtap_assets.errors import ConfigurationError

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class View:
    """A currency (empty: that with the most orders), a plan tier and a region (empty: all), and how far back."""

    currency: str = ""
    plan_tier: str = ""
    region: str = ""
    hours: int = 3

    @classmethod
    def of(cls, query: Mapping[str, str], *, most_hours: int) -> View:
        """Return the view that an address asks for.

        Raises:
            ConfigurationError: a value cannot be used.
        """
        texts = {name: query.get(name, "") for name in ("currency", "plan_tier", "region")}
        hours = query.get("hours", str(min(3, most_hours)))
        if any(len(text) > MOST_TEXT for text in texts.values()):
            raise ConfigurationError("A filter is longer than any code.", remedy="Use the codes that the page offers.")
        if not (hours.isascii() and hours.isdecimal() and 1 <= int(hours[:9]) <= most_hours):
            raise ConfigurationError(f"hours must be a whole number from 1 to {most_hours}.")
        return cls(**texts, hours=int(hours))

    def holds(self, group: Group) -> bool:
        """Return whether a group passes both filters."""
        return (not self.plan_tier or group[0] == self.plan_tier) and (not self.region or group[1] == self.region)


def shown(store: RevenueStore, view: View, windows: Iterable[Window], *, now_ms: int) -> dict[str, Any]:
    """Return the windows as the view shows them, and what there is to choose from."""
    since_ms = now_ms - view.hours * HOUR_MS
    currency = view.currency or busiest_currency(store.windows.values(), since_ms=since_ms)
    return {
        "currency": currency,
        "currencies": sorted({code for window in store.windows.values() for code in window.rows} | {currency} - {""}),
        "since": since_ms,
        "cut": store.is_cut,
        "windows": [_window(window, view, currency) for window in windows if window.start_ms >= since_ms],
    }


def busiest_currency(windows: Iterable[Window], *, since_ms: int) -> str:
    """Return the currency with the most orders; amounts of different currencies cannot be compared."""
    orders: dict[str, int] = {}
    for window in windows:
        if window.start_ms >= since_ms and window.is_tumbling:
            for currency, groups in window.rows.items():
                orders[currency] = orders.get(currency, 0) + sum(row.measures.orders for row in groups.values())
    return max(sorted(orders), key=lambda code: orders[code], default="")


def _window(window: Window, view: View, currency: str) -> dict[str, Any]:
    """Return one window; tumbling ones also by plan tier, region and currency."""
    groups = window.rows.get(currency, {})
    rows = [row for group, row in groups.items() if view.holds(group)]
    total = _sum(rows)
    found: dict[str, Any] = {
        "start": window.start_ms,
        "end": window.end_ms,
        "net": decimal_text(total.net),
        "gross": decimal_text(total.gross),
        "refund": decimal_text(total.refund),
        "orders": total.orders,
        "refunds": total.refunds,
        "status": status_of_all(row.status for row in rows) if rows else "none",
        "revision": max((row.revision for row in rows), default=0),
    }
    if window.is_tumbling:
        found["tiers"] = _net_by(groups, 0, only=(1, view.region))
        found["regions"] = _net_by(groups, 1, only=(0, view.plan_tier))
        found["by_currency"] = {
            code: decimal_text(_sum(row for group, row in held.items() if view.holds(group)).net)
            for code, held in window.rows.items()
        }
    return found


def _sum(rows: Iterable[Row]) -> Measures:
    total = Measures()
    for row in rows:
        total = total.plus(row.measures)
    return total


def _net_by(groups: Mapping[Group, Row], index: int, *, only: tuple[int, str]) -> dict[str, str]:
    """Return the net amount by plan tier (0) or region (1), where the other one passes its filter."""
    totals: dict[str, int] = {}
    for group, row in groups.items():
        if not only[1] or group[only[0]] == only[1]:
            totals[group[index]] = totals.get(group[index], 0) + row.measures.net
    return {name: decimal_text(total) for name, total in totals.items()}
