"""What a viewer is sent: everything first, then what changed; where it stood decides what it is sent when it returns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from typing import Any

import pytest
from dashboard_stage import running
from lake_fixtures import NOON

from rtap_assets.config import load_settings
from rtap_assets.dashboard.events import EventStream, Payloads, Stand, event
from rtap_assets.dashboard.hub import Hub, Presence
from rtap_assets.dashboard.revenue_messages import Measures, RevenueMessage
from rtap_assets.dashboard.revenue_store import RevenueStore
from rtap_assets.dashboard.view import View
from rtap_assets.runtime.clock import to_milliseconds

NOW = to_milliseconds(NOON)
FIRST, SECOND = NOW - 600_000, NOW - 300_000
Message = MutableMapping[str, Any]


def message(start: int, net: int, currency: str = "EUR") -> RevenueMessage:
    return RevenueMessage(start, start + 300_000, "pro", "emea", currency, Measures(net, 0, net, 1, 0), 0, NOW)


def hub_with(*messages: RevenueMessage) -> Hub:
    hub = Hub(load_settings(), RevenueStore(6), now=lambda: NOON)
    hub.store.restart("topic", {0: 0})
    for one in messages:
        take(hub, one)
    return hub


def take(hub: Hub, one: RevenueMessage) -> None:
    offset = hub.store.position[0]
    hub.store.take([(one, 0, offset)], {0: offset + 1}, now_ms=NOW)
    hub.revenue_changed()


class Viewer:
    """A browser at the other end: keeps what it is sent; leaves when asked to."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self._left: asyncio.Event = asyncio.Event()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, one: Message) -> None:
        self.sent.append(one)

    def leave(self) -> None:
        self._left.set()

    def events(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Return id and data of each event of this name."""
        text = b"".join(one.get("body", b"") for one in self.sent).decode()
        found = []
        for part in text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in part.split("\n"))
            if fields["event"] == name:
                found.append((fields.get("id", ""), json.loads(fields["data"])))
        return found


async def seen(viewer: Viewer, condition: Callable[[Viewer], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition(viewer):
            await asyncio.sleep(0.01)


def watch(hub: Hub, *, view: View = View(), stand: Stand | None = None) -> tuple[Viewer, asyncio.Task[None]]:  # noqa: B008
    viewer = Viewer()
    stream = EventStream(hub, Payloads(hub), view=view, seen=stand)
    return viewer, asyncio.create_task(stream({"type": "http"}, viewer.receive, viewer.send))


def starts(viewer: Viewer) -> list[tuple[bool, list[int]]]:
    return [(data["full"], [one["start"] for one in data["windows"]]) for _, data in viewer.events("revenue")]


def test_a_viewer_is_sent_everything_and_then_what_changed() -> None:
    async def test() -> None:
        hub = hub_with(message(FIRST, 1), message(SECOND, 2))
        viewer, task = watch(hub)
        await seen(viewer, lambda one: len(one.events("revenue")) == 1 and bool(one.events("status")))
        take(hub, message(SECOND, 30_000))
        await seen(viewer, lambda one: len(one.events("revenue")) == 2)
        assert starts(viewer) == [(True, [FIRST, SECOND]), (False, [SECOND])]
        id, data = viewer.events("revenue")[-1]
        assert (id, data["windows"][0]["net"], data["currency"]) == ("topic||0:3", "3.0000", "EUR")
        viewer.leave()
        await asyncio.wait_for(task, 10)
        assert hub.viewers == 0

    asyncio.run(test())


def test_a_viewer_that_returns_is_sent_exactly_what_it_missed() -> None:
    async def test() -> None:
        hub = hub_with(message(FIRST, 1), message(SECOND, 2))
        stand = Stand.parse(str(Stand.of(hub)))
        take(hub, message(FIRST, 9))
        viewer, task = watch(hub, view=View("EUR"), stand=stand)
        await seen(viewer, lambda one: bool(one.events("revenue")))
        assert starts(viewer) == [(False, [FIRST])]
        viewer.leave()
        await asyncio.wait_for(task, 10)

    asyncio.run(test())


@pytest.mark.parametrize("stand", ["other||0:1", "topic|older-marts|0:1", "topic||0:99", "topic||0:1,1:0"])
def test_a_viewer_whose_place_is_not_known_is_sent_everything(stand: str) -> None:
    async def test() -> None:
        hub = hub_with(message(FIRST, 1), message(SECOND, 2))
        viewer, task = watch(hub, view=View("EUR"), stand=Stand.parse(stand))
        await seen(viewer, lambda one: bool(one.events("revenue")))
        assert starts(viewer) == [(True, [FIRST, SECOND])]
        viewer.leave()
        await asyncio.wait_for(task, 10)

    asyncio.run(test())


@pytest.mark.parametrize(
    "text", ["", "x", "a|b", "topic||0:1\nevent: x", "topic||0:1,", "t|m|" + "0:1," * 2000, "topic||-1:2"]
)
def test_an_id_that_is_not_ours_is_no_place(text: str) -> None:
    assert Stand.parse(text) is None


def test_the_currency_of_a_viewer_stays_when_another_becomes_busier() -> None:
    async def test() -> None:
        hub = hub_with()
        viewer, task = watch(hub)
        await seen(viewer, lambda one: bool(one.events("status")))
        take(hub, message(FIRST, 1))
        await seen(viewer, lambda one: any(data["currency"] == "EUR" for _, data in one.events("revenue")))
        for net in range(3):
            take(hub, message(SECOND - net * 300_000, net, "USD"))
        await seen(viewer, lambda one: one.events("revenue")[-1][1]["currencies"] == ["EUR", "USD"])
        assert {data["currency"] for _, data in viewer.events("revenue")} - {""} == {"EUR"}
        viewer.leave()
        await asyncio.wait_for(task, 10)

    asyncio.run(test())


def test_sources_and_streams_are_sent_when_they_change() -> None:
    async def test() -> None:
        hub = hub_with()
        hub.streams = list(running()[:1])
        viewer, task = watch(hub)
        await seen(viewer, lambda one: bool(one.events("status")))
        hub.found("feed", Presence.AWAY, detail="gone", remedy="wait")
        await seen(viewer, lambda one: one.events("status")[-1][1]["feed"]["presence"] == "away")
        _, data = viewer.events("status")[-1]
        assert (data["feed"]["detail"], data["streams"][0]["name"]) == ("gone", "bronze")
        hub.now = lambda: running()[0].valid_until + timedelta(days=1)
        hub.found("feed", Presence.LIVE)
        await seen(viewer, lambda one: one.events("status")[-1][1]["streams"][0]["observed"] == "unknown")
        hub.end()
        await asyncio.wait_for(task, 10)
        assert viewer.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

    asyncio.run(test())


def test_viewers_of_the_same_view_share_what_is_made() -> None:
    hub = hub_with(message(FIRST, 1))
    payloads = Payloads(hub)
    assert payloads.revenue(View("EUR"), None) is payloads.revenue(View("EUR"), None)
    assert payloads.revenue(View("EUR"), Stand.of(hub)) is None


def test_no_text_of_the_data_ends_an_event_or_begins_another() -> None:
    made = event("revenue", {"name": "a\n\nevent: x\r\ndata: y\u2028"}, id="1").decode()
    assert made.count("\n\n") == 1
    assert made.endswith("\n\n")
    assert "\r" not in made
