"""The live feed: where it begins, what it takes in, what it says of a broker that is away, a topic that was replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from dashboard_stage import SCHEMA, SCHEMA_ID, FakeTopic, away
from lake_fixtures import NOON, gold_row

from rtap_assets.config import Settings, load_settings
from rtap_assets.dashboard.feed import MARGIN, Feed
from rtap_assets.dashboard.hub import Hub, Presence
from rtap_assets.dashboard.revenue_messages import RevenueReader
from rtap_assets.dashboard.revenue_store import RevenueStore
from rtap_assets.errors import DependencyUnavailable

SECONDS = 60
WINDOW = NOON - timedelta(minutes=10)


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return load_settings(state_dir=tmp_path)


@asynccontextmanager
async def fed(
    settings: Settings, topic: FakeTopic, *, schema_of: Callable[[int], str | None] = {SCHEMA_ID: SCHEMA}.get
) -> AsyncIterator[Hub]:
    """Yield a hub that the feed fills from the topic."""
    hub = Hub(settings, RevenueStore(6), now=lambda: NOON)

    async def nothing() -> None: ...

    feed = Feed(hub, RevenueReader(schema_of), topic.follow, nothing, asyncio.get_running_loop())
    feed.start()
    try:
        yield hub
    finally:
        feed.stop()


async def until(condition: Callable[[], bool], hub: Hub) -> None:
    """Wait for a condition that changes when the hub rings."""

    async def looked() -> None:
        while not condition():
            bell = hub.bell
            if not condition():
                await asyncio.wait_for(bell.wait(), SECONDS)

    await asyncio.wait_for(looked(), SECONDS)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_messages_reach_the_store_with_their_offsets(settings: Settings) -> None:
    async def test() -> None:
        topic = FakeTopic()
        topic.publish(gold_row(WINDOW), gold_row(WINDOW, region="na"))
        async with fed(settings, topic) as hub:
            await until(lambda: hub.store.rows == 2, hub)
            topic.publish(gold_row(WINDOW, orders=5))
            await until(lambda: hub.store.position == {0: 3}, hub)
            await until(lambda: hub.feed.presence is Presence.LIVE, hub)
            assert (hub.store.rows, hub.store.topic_id) == (2, "topic-1")

    run(test)


def test_the_feed_begins_a_little_before_the_marts_or_with_the_hours_shown(settings: Settings) -> None:
    async def test() -> None:
        topic = FakeTopic()
        async with fed(settings, topic) as hub:
            await until(lambda: hub.feed.presence is Presence.LIVE, hub)
            assert topic.opened_since == [NOON - timedelta(hours=6) - MARGIN]
            hub.refreshed_at = NOON - timedelta(minutes=3)
            topic.away = away()
            await until(lambda: hub.feed.presence is Presence.AWAY, hub)
        feed = Feed(hub, RevenueReader({}.get), topic.follow, until, asyncio.get_running_loop())  # type: ignore[arg-type]
        assert feed._since() == NOON - timedelta(minutes=3) - MARGIN

    run(test)


def test_a_broker_that_is_away_is_reported_and_what_is_known_stays(settings: Settings) -> None:
    async def test() -> None:
        topic = FakeTopic()
        topic.publish(gold_row(WINDOW))
        async with fed(settings, topic) as hub:
            await until(lambda: hub.store.rows == 1, hub)
            topic.away = away()
            await until(lambda: hub.feed.presence is Presence.AWAY, hub)
            assert (hub.store.rows, hub.feed.remedy) == (1, "Run `rtap up`.")
            topic.publish(gold_row(WINDOW, region="na"))
            topic.away = None
            await until(lambda: hub.feed.presence is Presence.LIVE and hub.store.rows == 2, hub)
            assert len(topic.opened_since) == 1, "it goes on where it stood"

    run(test)


def test_a_topic_that_cannot_be_opened_is_tried_again(settings: Settings) -> None:
    async def test() -> None:
        topic = FakeTopic(away=away())
        async with fed(settings, topic) as hub:
            await until(lambda: hub.feed.presence is Presence.AWAY, hub)
            topic.away = None
            await until(lambda: hub.feed.presence is Presence.LIVE, hub)

    run(test)


def test_messages_that_cannot_be_read_are_counted_and_passed_over(settings: Settings) -> None:
    async def test() -> None:
        topic = FakeTopic()
        topic.append(b"not a message")
        topic.publish(gold_row(WINDOW))
        async with fed(settings, topic) as hub:
            await until(lambda: hub.store.position == {0: 2}, hub)
            assert (hub.store.rejected, hub.store.rows) == (1, 1)

    run(test)


def test_a_registry_that_is_away_holds_the_feed_up_and_loses_nothing(settings: Settings) -> None:
    back = Event()

    def schema_of(_: int) -> str:
        if not back.is_set():
            raise DependencyUnavailable("The registry is away.", dependency="registry")
        return SCHEMA

    async def test() -> None:
        topic = FakeTopic()
        topic.publish(gold_row(WINDOW))
        async with fed(settings, topic, schema_of=schema_of) as hub:
            await until(lambda: hub.feed.presence is Presence.AWAY, hub)
            back.set()
            await until(lambda: hub.store.rows == 1 and hub.feed.presence is Presence.LIVE, hub)
            assert hub.store.rejected == 0

    run(test)
