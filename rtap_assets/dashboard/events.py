"""The stream of server-sent events behind the page: revenue as it changes, and what is known of the sources and streams.

An event's id is where the viewer stands: the topic, the marts and the offsets. A viewer that returns with it is sent the
windows that changed since, and everything when that cannot be known. No queue is kept for a viewer: one that reads slowly is
sent the newest state less often.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import Receive, Scope, Send

from rtap_assets.dashboard.hub import Hub
from rtap_assets.dashboard.revenue_store import Position
from rtap_assets.dashboard.view import HOUR_MS, View, busiest_currency, shown
from rtap_assets.runtime.clock import to_milliseconds

GATHER_SECONDS = 0.05  # changes this close together are sent as one
BEAT_SECONDS = 5.0  # something is sent at least this often, so that a viewer notices a dead connection
SEND_SECONDS = 30.0  # a viewer that takes nothing for this long is let go
KEPT_PAYLOADS = 64
_ID = re.compile(r"(?P<topic>[\w-]{1,64})\|(?P<marts>[\w-]{0,64})\|(?P<offsets>(?:\d{1,6}:\d{1,19}(?:,(?!$))?){0,1000})")


@dataclass(frozen=True)
class Stand:
    """Where a viewer stands."""

    topic_id: str
    marts_id: str
    position: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, hub: Hub) -> Stand:
        """Return where a viewer stands that has everything."""
        return cls(hub.store.topic_id or "none", hub.store.marts_id, tuple(sorted(hub.store.position.items())))

    @classmethod
    def parse(cls, text: str) -> Stand | None:
        """Return what an event's id says; None when it is not one of ours."""
        found = _ID.fullmatch(text)
        if found is None:
            return None
        pairs = [one.split(":") for one in found["offsets"].split(",") if one]
        return cls(found["topic"], found["marts"], tuple(sorted((int(one), int(offset)) for one, offset in pairs)))

    def __str__(self) -> str:
        offsets = ",".join(f"{partition}:{offset}" for partition, offset in self.position)
        return f"{self.topic_id}|{self.marts_id}|{offsets}"


class Payloads:
    """Events as bytes, made once for all viewers of the same view that stand at the same place."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._made: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    def revenue(self, view: View, seen: Stand | None) -> bytes | None:
        """Return the event with what changed since `seen`, or with everything; None when nothing did."""
        hub, stand = self._hub, Stand.of(self._hub)
        if seen == stand:
            return None
        key = ("revenue", view, seen, stand, hub.changes)
        return self._kept(key, lambda: self._revenue(view, seen, stand))

    def status(self) -> bytes:
        """Return the event with sources and streams; its time is that of its making."""
        return event("status", self._hub.status_json())

    def _revenue(self, view: View, seen: Stand | None, stand: Stand) -> bytes:
        store = self._hub.store
        position: Position = dict(seen.position) if seen is not None else {}
        goes_on = seen is not None and (seen.topic_id, seen.marts_id) == (stand.topic_id, stand.marts_id)
        is_change = goes_on and store.knows(position)
        windows = store.changed_since(position) if is_change else store.all_windows()
        data = {"full": not is_change} | shown(store, view, windows, now_ms=to_milliseconds(self._hub.now()))
        return event("revenue", data, id=str(stand))

    def _kept(self, key: tuple[Any, ...], make: Any) -> bytes:
        if key not in self._made:
            self._made[key] = make()
            while len(self._made) > KEPT_PAYLOADS:
                self._made.popitem(last=False)
        return self._made[key]


def event(name: str, data: Mapping[str, Any], *, id: str = "") -> bytes:
    """Return one server-sent event; JSON has no line break, so no text can end it or begin another."""
    identity = f"id: {id}\n" if id else ""
    return f"{identity}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class EventStream:
    """The response to one viewer: an ASGI application that ends when the viewer leaves or the process does."""

    def __init__(self, hub: Hub, payloads: Payloads, *, view: View, seen: Stand | None) -> None:
        self._hub, self._payloads, self._view, self._seen = hub, payloads, view, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._hub.viewers += 1
        left = asyncio.create_task(_left(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._send_on(send, left)
        except TimeoutError:
            return  # the server closes a connection whose response was not completed
        finally:
            self._hub.viewers -= 1
            left.cancel()

    async def _send_on(self, send: Send, left: asyncio.Task[None]) -> None:
        status_changes, status_at, loop = -1, 0.0, asyncio.get_running_loop()
        while not left.done() and not self._hub.is_ending:
            bell = self._hub.bell  # taken first: what changes from here on rings it
            self._choose_currency()
            stand = Stand.of(self._hub)
            parts = [self._payloads.revenue(self._view, self._seen) or b""]
            self._seen = stand
            if status_changes != self._hub.status_changes or loop.time() - status_at >= BEAT_SECONDS:
                status_changes, status_at = self._hub.status_changes, loop.time()
                parts.append(self._payloads.status())
            if body := b"".join(parts):
                await asyncio.wait_for(send({"type": "http.response.body", "body": body, "more_body": True}), SEND_SECONDS)
                await asyncio.sleep(GATHER_SECONDS)
            ringing = asyncio.create_task(bell.wait())
            await asyncio.wait({ringing, left}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            ringing.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _choose_currency(self) -> None:
        """Settle on the busiest currency once there is one: a viewer's currency must not change under it."""
        if self._view.currency:
            return
        since_ms = to_milliseconds(self._hub.now()) - self._view.hours * HOUR_MS
        if currency := busiest_currency(self._hub.store.windows.values(), since_ms=since_ms):
            self._view, self._seen = replace(self._view, currency=currency), None


HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a reverse proxy must not hold events back
]


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
