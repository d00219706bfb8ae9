"""The newest value of each revenue window, in memory: as the topic has it, with its status from the marts.

Pure: no clock, no I/O; the event loop alone uses it. Bounded by the hours kept and by a number of rows. No history is kept
for viewers that return: each row knows the offset of its message, so what changed since a position is what has a later one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from rtap_assets.dashboard.revenue_messages import Measures, RevenueMessage

MOST_ROWS = 400_000  # about 250 MB: 48 hours of 130 keys a window
MOST_AHEAD_MS = 3_600_000  # a window that begins later than this is no window of now
FROM_MARTS = -1  # the offset of a row that no message of the topic brought
# A row that is older than this and that the marts lack was taken out of gold: by a rebuild or an erasure.
MARTS_MARGIN_MS = 600_000

Group = tuple[str, str]  # plan tier, region
Position = dict[int, int]  # Kafka partition -> next offset


class Status(StrEnum):
    """How far the figures of a window may be relied on."""

    PROVISIONAL = "provisional"
    FINAL = "final"
    RESTATED = "restated"


# The status of several rows together: that of the least reliable.
STATUS_ORDER = (Status.PROVISIONAL, Status.RESTATED, Status.FINAL)


class Row(NamedTuple):
    """One window of one plan tier, region and currency, and where its newest message is."""

    measures: Measures
    revision: int
    updated_ms: int
    partition: int
    offset: int
    status: Status


class MartRow(NamedTuple):
    """The same row as the marts have it."""

    start_ms: int
    end_ms: int
    plan_tier: str
    region: str
    currency: str
    measures: Measures
    revision: int
    updated_ms: int
    status: Status


@dataclass
class Window:
    """One window: its rows by currency and group."""

    start_ms: int
    end_ms: int
    rows: dict[str, dict[Group, Row]] = field(default_factory=dict)
    newest: Position = field(default_factory=dict)

    @property
    def is_tumbling(self) -> bool:
        """Return whether it starts on a multiple of its length: such windows tile the time line."""
        return self.start_ms % (self.end_ms - self.start_ms) == 0


@dataclass
class RevenueStore:
    """Windows by their start. `position` is up to where the topic is taken in; `rejected` counts unreadable messages."""

    hours: int
    most_rows: int = MOST_ROWS
    windows: dict[int, Window] = field(default_factory=dict)
    position: Position = field(default_factory=dict)
    topic_id: str = ""
    marts_id: str = ""
    rejected: int = 0
    rows: int = 0
    is_cut: bool = False  # there were more rows than may be kept, so that less than `hours` is shown

    def restart(self, topic_id: str, position: Mapping[int, int]) -> None:
        """Begin with another topic, or at another point of the same: nothing of the old one is kept."""
        self.topic_id, self.position = topic_id, dict(position)
        self.windows, self.rows, self.is_cut, self.marts_id = {}, 0, False, ""

    def take(
        self,
        messages: Iterable[tuple[RevenueMessage, int, int]],
        position: Mapping[int, int],
        *,
        rejected: int = 0,
        now_ms: int,
    ) -> None:
        """Take in messages with their Kafka partition and offset; `position` is where the topic stands afterwards."""
        oldest_ms, newest_ms = self.oldest_ms(now_ms), now_ms + MOST_AHEAD_MS
        for message, partition, offset in messages:
            if not oldest_ms <= message.start_ms <= newest_ms:
                continue
            window = self._window(message.start_ms, message.end_ms)
            groups = window.rows.setdefault(message.currency, {})
            group = (message.plan_tier, message.region)
            old = groups.get(group)
            if old is None:
                self.rows += 1
            elif old.offset == FROM_MARTS and old.updated_ms > message.updated_ms:
                continue  # the marts are ahead of this message; a later one follows
            groups[group] = Row(
                message.measures, message.revision, message.updated_ms, partition, offset, _status_of(message, old)
            )
            window.newest[partition] = offset
        self.rejected += rejected
        self.position.update(position)
        self._forget(now_ms)

    def learn(self, marts_id: str, rows: Iterable[MartRow], *, refreshed_ms: int, now_ms: int) -> None:
        """Take in the marts: the status of rows that both know, rows that the topic did not bring, rows that are gone."""
        oldest_ms, known = self.oldest_ms(now_ms), set()
        for one in rows:
            if one.start_ms < oldest_ms:
                continue
            key = (one.start_ms, one.currency, (one.plan_tier, one.region))
            known.add(key)
            window = self._window(one.start_ms, one.end_ms)
            groups = window.rows.setdefault(one.currency, {})
            old = groups.get(key[2])
            if old is None:
                self.rows += 1
            if old is None or old.updated_ms < one.updated_ms:
                partition, offset = (FROM_MARTS, FROM_MARTS) if old is None else (old.partition, old.offset)
                groups[key[2]] = Row(one.measures, one.revision, one.updated_ms, partition, offset, one.status)
            elif (old.updated_ms, old.revision) == (one.updated_ms, one.revision):
                groups[key[2]] = old._replace(status=one.status)
        self._drop_removed(known, before_ms=refreshed_ms - MARTS_MARGIN_MS)
        self.marts_id = marts_id
        self._forget(now_ms)

    def oldest_ms(self, now_ms: int) -> int:
        """Return the start of the oldest window that is kept."""
        return now_ms - self.hours * 3_600_000

    def changed_since(self, position: Mapping[int, int]) -> list[Window]:
        """Return the windows with a message at or after the position, oldest first."""
        return [
            window
            for _, window in sorted(self.windows.items())
            if any(offset >= position.get(partition, 0) for partition, offset in window.newest.items())
        ]

    def all_windows(self) -> list[Window]:
        """Return every window, oldest first."""
        return [window for _, window in sorted(self.windows.items())]

    def knows(self, position: Mapping[int, int]) -> bool:
        """Return whether a viewer that stood there can go on from there: the position is one that this topic has had."""
        return position.keys() == self.position.keys() and all(0 <= position[one] <= self.position[one] for one in position)

    def _window(self, start_ms: int, end_ms: int) -> Window:
        if start_ms not in self.windows:
            self.windows[start_ms] = Window(start_ms, end_ms)
        return self.windows[start_ms]

    def _drop_removed(self, known: set[tuple[int, str, Group]], *, before_ms: int) -> None:
        for start_ms, window in list(self.windows.items()):
            for currency, groups in list(window.rows.items()):
                old = [group for group, row in groups.items() if row.updated_ms < before_ms]
                gone = [group for group in old if (start_ms, currency, group) not in known]
                for group in gone:
                    del groups[group]
                    self.rows -= 1
                if not groups:
                    del window.rows[currency]
            if not window.rows:
                del self.windows[start_ms]

    def _forget(self, now_ms: int) -> None:
        for start_ms in [start for start in self.windows if start < self.oldest_ms(now_ms)]:
            self._remove(start_ms)
        while self.rows > self.most_rows and len(self.windows) > 1:
            self.is_cut = True
            self._remove(min(self.windows))

    def _remove(self, start_ms: int) -> None:
        self.rows -= sum(len(groups) for groups in self.windows.pop(start_ms).rows.values())


def _status_of(message: RevenueMessage, old: Row | None) -> Status:
    """Return what the message alone shows: a revision is raised only after the window was final. The marts say the rest."""
    if old is not None and (old.updated_ms, old.revision) == (message.updated_ms, message.revision):
        return old.status  # the same once more
    return Status.RESTATED if message.revision > 0 else Status.PROVISIONAL


def status_of_all(statuses: Iterable[Status]) -> Status:
    """Return the status of rows that are summed."""
    found = set(statuses)
    return next((status for status in STATUS_ORDER if status in found), Status.PROVISIONAL)
