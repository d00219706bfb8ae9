"""Quiet hours of the settings: a span of local time that may go over midnight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

FORM = re.compile(r"^(\d\d):(\d\d)-(\d\d):(\d\d)(?: (\S+))?$")


@dataclass(frozen=True)
class QuietHours:
    """From `start` until `end` of each day in `zone`, the end excluded; without a start there are none."""

    start: time | None = None
    end: time = time()
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the hours of a setting; empty for none.

        Raises:
            ValueError: the text has another form, or there is no such time zone.
        """
        if not text:
            return cls()
        match = FORM.match(text)
        if match is None:
            raise ValueError("write two times and a time zone, for example 22:00-07:00 Europe/Berlin")
        hours = [int(group) for group in match.groups()[:4]]
        try:
            zone: tzinfo = ZoneInfo(match[5]) if match[5] else UTC
            start, end = time(hours[0], hours[1]), time(hours[2], hours[3])
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("write times from 00:00 to 23:59 and a time zone such as Europe/Berlin or UTC") from error
        if start == end:
            raise ValueError("quiet hours that begin when they end are all day or never: write two different times")
        return cls(start, end, zone)

    def holds_at(self, now: datetime) -> bool:
        """Return whether an instant is within the quiet hours."""
        if self.start is None:
            return False
        local = now.astimezone(self.zone).time()
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end
