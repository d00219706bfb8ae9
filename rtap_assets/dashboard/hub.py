"""What the dashboard knows at this moment, and the bell that rings when it changes. The event loop alone uses it.

Each source says for itself whether it is there: a broker, a stream host or marts that are away leave what the others say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.dashboard.revenue_store import RevenueStore
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.model.states import StreamStatus
from rtap_assets.streaming.model.wire import as_text

MOST_VIEWERS = 200


class Presence(StrEnum):
    """Whether a source answers."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"  # the topic is being read up to where it stood when it was opened
    LIVE = "live"
    AWAY = "away"
    NONE = "none"  # there are no marts yet


@dataclass(frozen=True)
class Source:
    """One source: whether it answers, since when, and why not."""

    presence: Presence
    since: datetime
    detail: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it for the page."""
        return {
            "presence": self.presence, "since": as_text(self.since), "detail": self.detail, "remedy": self.remedy
        }  # fmt: skip


@dataclass
class Hub:
    """The state that viewers are shown. `changes` grows with each change of the revenue, `status_changes` of the rest."""

    settings: Settings
    store: RevenueStore
    now: Callable[[], datetime] = utc_now
    feed: Source = field(init=False)
    marts: Source = field(init=False)
    host: Source = field(init=False)
    streams: list[StreamStatus] = field(default_factory=list)
    refreshed_at: datetime | None = None
    watermark: datetime | None = None
    newest_record_ms: int = 0
    changes: int = 0
    status_changes: int = 0
    viewers: int = 0
    is_ending: bool = False
    bell: asyncio.Event = field(init=False)

    def __post_init__(self) -> None:
        self.feed = self.marts = self.host = Source(Presence.CONNECTING, self.now())
        self.bell = asyncio.Event()

    def ring(self) -> None:
        """Wake every viewer: set the bell that was taken before this, and hang up another."""
        bell, self.bell = self.bell, asyncio.Event()
        bell.set()

    def end(self) -> None:
        """End the streams of all viewers."""
        self.is_ending = True
        self.ring()

    def revenue_changed(self) -> None:
        """Note that windows changed, and wake the viewers."""
        self.changes += 1
        self.ring()

    def found(self, name: str, presence: Presence, *, detail: str = "", remedy: str = "") -> None:
        """Note what a source (`feed`, `marts` or `host`) is like; `since` begins when its presence changes."""
        old: Source = getattr(self, name)
        since = old.since if old.presence is presence else self.now()
        new = Source(presence, since, detail, remedy)
        if new != old:
            setattr(self, name, new)
            self.status_changes += 1
            self.ring()

    def statuses(self) -> list[StreamStatus]:
        """Return the streams' states; one that may no longer be believed is UNKNOWN."""
        now = self.now()
        return [
            one if one.is_valid_at(now) else one.as_unknown(reason="The last look at the stream is too old.", now=now)
            for one in self.streams
        ]

    def status_json(self) -> dict[str, Any]:
        """Return sources and streams as the page shows them."""
        return {
            "now": as_text(self.now()),
            "feed": self.feed.to_json() | {"newest_record_ms": self.newest_record_ms, "rejected": self.store.rejected},
            "marts": self.marts.to_json()
            | {
                "id": self.store.marts_id,
                "refreshed_at": None if self.refreshed_at is None else as_text(self.refreshed_at),
                "watermark": None if self.watermark is None else as_text(self.watermark),
            },
            "host": self.host.to_json(),
            # Gold's watermark is this far behind the newest event that gold holds.
            "gold_delay_seconds": 2 * self.settings.watermark_delay_seconds,
            "streams": [one.to_json() for one in self.statuses()],
        }
