"""The newest value of each window: what a message and the marts change, what is forgotten, who may go on where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtap_assets.dashboard.revenue_messages import Measures, RevenueMessage
from rtap_assets.dashboard.revenue_store import FROM_MARTS, MartRow, RevenueStore, Row, Status, status_of_all

NOW = 1_800_000_000_000
MINUTE = 60_000
START = NOW - NOW % 300_000 - 300_000


def message(
    net: int = 10, *, start: int = START, revision: int = 0, updated: int = NOW, tier: str = "pro"
) -> RevenueMessage:
    return RevenueMessage(start, start + 5 * MINUTE, tier, "emea", "EUR", Measures(net, 0, net, 1, 0), revision, updated)


def mart(
    net: int = 10, *, status: Status = Status.FINAL, revision: int = 0, updated: int = NOW, start: int = START
) -> MartRow:
    return MartRow(start, start + 5 * MINUTE, "pro", "emea", "EUR", Measures(net, 0, net, 1, 0), revision, updated, status)


def store_with(*messages: RevenueMessage, hours: int = 6) -> RevenueStore:
    store = RevenueStore(hours)
    store.restart("topic", {0: 0, 1: 0})
    for offset, one in enumerate(messages):
        store.take([(one, 0, offset)], {0: offset + 1}, now_ms=NOW)
    return store


def only(store: RevenueStore) -> Row:
    ((row,),) = [list(groups.values()) for window in store.all_windows() for groups in window.rows.values()]
    return row


def test_the_newest_message_of_a_key_replaces_the_earlier_one() -> None:
    store = store_with(message(10), message(25, updated=NOW + 1))
    assert (only(store).measures.net, only(store).offset, store.rows) == (25, 1, 1)
    assert only(store).status is Status.PROVISIONAL


def test_the_marts_say_what_is_final_of_the_rows_that_they_know_unchanged() -> None:
    store = store_with(message(10))
    store.learn("m1", [mart(10)], refreshed_ms=NOW, now_ms=NOW)
    assert only(store).status is Status.FINAL
    store.take([(message(12, updated=NOW + 5, revision=1), 0, 1)], {0: 2}, now_ms=NOW)
    assert (only(store).status, only(store).measures.net) == (Status.RESTATED, 12)
    store.learn("m2", [mart(10)], refreshed_ms=NOW, now_ms=NOW)
    assert (only(store).status, only(store).measures.net) == (Status.RESTATED, 12), "older marts take nothing back"


def test_a_repeated_message_does_not_undo_what_the_marts_said() -> None:
    store = store_with(message(10))
    store.learn("m1", [mart(10)], refreshed_ms=NOW, now_ms=NOW)
    store.take([(message(10), 0, 1)], {0: 2}, now_ms=NOW)
    assert only(store).status is Status.FINAL


def test_marts_that_are_ahead_of_the_topic_win_until_the_topic_has_caught_up() -> None:
    store = RevenueStore(6)
    store.restart("topic", {0: 0})
    store.learn("m1", [mart(30, updated=NOW + 9)], refreshed_ms=NOW, now_ms=NOW)
    assert (only(store).offset, only(store).measures.net) == (FROM_MARTS, 30)
    store.take([(message(10), 0, 0), (message(30, updated=NOW + 9), 0, 1)], {0: 2}, now_ms=NOW)
    assert (only(store).offset, only(store).measures.net, only(store).status) == (1, 30, Status.FINAL)


def test_a_row_that_gold_has_no_longer_is_dropped_once_the_marts_were_refreshed_well_after_it() -> None:
    store = store_with(message(10))
    store.learn("m1", [], refreshed_ms=NOW + 5 * MINUTE, now_ms=NOW)
    assert store.rows == 1, "it may have been published a moment before the marts were planned"
    store.learn("m2", [], refreshed_ms=NOW + 11 * MINUTE, now_ms=NOW)
    assert (store.rows, store.windows) == (0, {})


def test_what_changed_since_a_position_is_what_has_a_later_message() -> None:
    early, late = message(1, start=START - 5 * MINUTE), message(2)
    store = store_with(early, late)
    assert [window.start_ms for window in store.changed_since({0: 1, 1: 0})] == [START]
    assert [window.start_ms for window in store.changed_since({0: 0, 1: 0})] == [START - 5 * MINUTE, START]
    assert store.changed_since({0: 2, 1: 0}) == []


@pytest.mark.parametrize(
    ("position", "known"),
    [({0: 2, 1: 0}, True), ({0: 0, 1: 0}, True), ({0: 3, 1: 0}, False), ({0: 2}, False), ({0: 2, 1: 0, 2: 0}, False)],
)
def test_a_viewer_goes_on_only_from_where_this_topic_has_been(position: dict[int, int], known: bool) -> None:
    assert store_with(message(1), message(2)).knows(position) is known


def test_windows_older_than_the_hours_kept_are_forgotten_and_not_taken_in() -> None:
    old = message(1, start=START - 50 * MINUTE)
    store = store_with(old, message(2), hours=1)
    assert len(store.windows) == 2
    store.take([(replace(old, start_ms=START - 90 * MINUTE), 0, 2)], {0: 3}, now_ms=NOW + 20 * MINUTE)
    assert (list(store.windows), store.rows) == ([START], 1)


def test_a_window_of_the_far_future_does_not_pass_for_now() -> None:
    store = store_with(message(1, start=NOW + 2 * 3_600_000))
    assert (store.windows, store.position) == ({}, {0: 1, 1: 0})


def test_memory_is_bounded_by_rows_and_the_cut_is_known() -> None:
    store = RevenueStore(6, most_rows=3)
    store.restart("topic", {0: 0})
    rows = [message(1, start=START - back * 5 * MINUTE) for back in range(5)]
    store.take([(one, 0, offset) for offset, one in enumerate(rows)], {0: 5}, now_ms=NOW)
    assert (store.rows, min(store.windows), store.is_cut) == (3, START - 10 * MINUTE, True)


def test_another_topic_begins_with_nothing_of_the_old_one() -> None:
    store = store_with(message(1))
    store.restart("other", {0: 0})
    assert (store.windows, store.rows, store.marts_id, store.position) == ({}, 0, "", {0: 0})


def test_the_status_of_a_sum_is_that_of_its_least_reliable_row() -> None:
    assert status_of_all([Status.FINAL, Status.RESTATED, Status.PROVISIONAL]) is Status.PROVISIONAL
    assert status_of_all([Status.FINAL, Status.RESTATED]) is Status.RESTATED
    assert status_of_all([Status.FINAL]) is Status.FINAL
