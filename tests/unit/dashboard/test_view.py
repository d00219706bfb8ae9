"""What a view shows: sums within one currency, filters, breakdowns, and which currency is shown where none was chosen."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rtap_assets.dashboard.revenue_messages import Measures, RevenueMessage
from rtap_assets.dashboard.revenue_store import RevenueStore
from rtap_assets.dashboard.view import View, busiest_currency, shown
from rtap_assets.errors import ConfigurationError

NOW = 1_800_000_000_000
START = NOW - NOW % 300_000 - 300_000
ROWS = [
    ("pro", "emea", "EUR", 100_000, 3), ("free", "emea", "EUR", 1, 2), ("pro", "latam", "EUR", -20_000, 1),
    ("pro", "na", "USD", 70_000, 9),
]  # fmt: skip


@pytest.fixture
def store() -> RevenueStore:
    found = RevenueStore(6)
    found.restart("topic", {0: 0})
    messages = [
        (RevenueMessage(start, start + 300_000, tier, region, currency, Measures(net, 0, net, orders, 0), 0, NOW), 0, offset)
        for start in (START, START - 60_000)
        for offset, (tier, region, currency, net, orders) in enumerate(ROWS)
    ]
    found.take(messages, {0: len(ROWS)}, now_ms=NOW)
    return found


def test_amounts_are_added_within_one_currency_alone(store: RevenueStore) -> None:
    data = shown(store, View("EUR"), store.all_windows(), now_ms=NOW)
    rolling, tumbling = data["windows"]
    assert (tumbling["net"], tumbling["orders"]) == ("8.0001", 6)
    assert tumbling["by_currency"] == {"EUR": "8.0001", "USD": "7.0000"}
    assert "tiers" not in rolling
    assert data["currencies"] == ["EUR", "USD"]


def test_a_breakdown_leaves_its_own_filter_aside(store: RevenueStore) -> None:
    (_, window) = shown(store, View("EUR", "pro", "emea"), store.all_windows(), now_ms=NOW)["windows"]
    assert window["net"] == "10.0000"
    assert window["tiers"] == {"pro": "10.0000", "free": "0.0001"}
    assert window["regions"] == {"emea": "10.0000", "latam": "-2.0000"}


def test_without_a_choice_the_currency_with_the_most_orders_is_shown(store: RevenueStore) -> None:
    assert busiest_currency(store.windows.values(), since_ms=0) == "USD"
    assert shown(store, View(), store.all_windows(), now_ms=NOW)["currency"] == "USD"
    assert busiest_currency([], since_ms=0) == ""


def test_a_window_without_the_currency_says_that_it_has_no_events(store: RevenueStore) -> None:
    (_, window) = shown(store, View("CHF"), store.all_windows(), now_ms=NOW)["windows"]
    assert (window["status"], window["net"]) == ("none", "0.0000")


def test_only_the_hours_of_the_view_are_sent(store: RevenueStore) -> None:
    assert shown(store, View("EUR", hours=1), store.all_windows(), now_ms=NOW + 3_600_000)["windows"] == []


@pytest.mark.parametrize("query", [{"hours": "0"}, {"hours": "7"}, {"hours": "x"}, {"hours": "²"}, {"region": "r" * 101}])
def test_a_view_that_cannot_be_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        View.of(query, most_hours=6)


def test_every_amount_is_a_decimal_with_four_places(store: RevenueStore) -> None:
    (_, window) = shown(store, View("EUR"), store.all_windows(), now_ms=NOW)["windows"]
    assert all(Decimal(window[name]).as_tuple().exponent == -4 for name in ("net", "gross", "refund"))
