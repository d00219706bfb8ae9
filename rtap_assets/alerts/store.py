"""The durable part: open alerts, events that wait for their message, messages that wait for their delivery. One SQLite file.

A look commits what is tracked and its events together, and a message is made in the transaction that takes its events, so
that an alert is neither lost nor composed twice, whichever process is killed. Host, sensor and commands share the file.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rtap_assets.alerts.composing import compose
from rtap_assets.alerts.model import Facts, Message, event_document, event_of
from rtap_assets.alerts.rules import judge
from rtap_assets.alerts.tracking import Policy, Tracked, due, track
from rtap_assets.config import Settings

BUSY_SECONDS = 5.0
MOST_WAITING = 1_000  # messages of one channel; beyond that the oldest are given up, and the next one delivered says so
MOST_PENDING = 5_000  # events that wait for the end of quiet hours
WAITS = "delivered_at IS NULL AND given_up_at IS NULL"
SCHEMA = """
CREATE TABLE IF NOT EXISTS tracked (key TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pending (id INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, at REAL NOT NULL, document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT NOT NULL, channel TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL,
    delivered_at REAL, given_up_at REAL, error TEXT NOT NULL DEFAULT '', PRIMARY KEY (id, channel)
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Waiting:
    """A message that is due on a channel, and how often it was tried in vain."""

    message: Message
    attempts: int


@dataclass(frozen=True)
class ChannelStanding:
    """How a channel stands: messages that wait, the newest delivery, the newest error of what waits, messages given up."""

    channel: str
    waiting: int = 0
    delivered_at: datetime | None = None
    error: str = ""
    given_up: int = 0


class AlertStore:
    """The file of one state folder. Every method is one transaction."""

    def __init__(self, settings: Settings, *, most_waiting: int = MOST_WAITING) -> None:
        self.settings, self.most_waiting = settings, most_waiting
        self.path: Path = settings.alerts_dir / "alerts.db"

    def look(self, facts: Facts, *, by: str = "", channels: Sequence[str] = ()) -> list[Tracked]:
        """Judge the facts, note what changed, and make the message that is due; return the open alerts.

        `by` notes when this looker last looked; `channels` are the labels that the message is to be delivered to.
        """
        conditions, judged = judge(facts, self.settings)
        with self._writing() as database:
            tracked, events = track(
                self._tracked(database), conditions, judged, policy=Policy.of(self.settings), now=facts.now
            )
            database.execute("DELETE FROM tracked")
            rows = [(key, json.dumps(one.to_json())) for key, one in tracked.items()]
            database.executemany("INSERT INTO tracked VALUES (?, ?)", rows)
            if channels:
                documents = [(json.dumps(event_document(event)),) for event in events]
                database.executemany("INSERT INTO pending (document) VALUES (?)", documents)
                self._make_message(database, channels, now=facts.now)
            if by:
                self._note(database, f"looked/{by}", facts.now.isoformat())
        return [one for one in tracked.values() if one.raised_at is not None]

    def open_alerts(self) -> list[Tracked]:
        """Return the alerts that are open, the worst first."""
        with self._reading() as database:
            found = [one for one in self._tracked(database).values() if one.raised_at is not None] if database else []
        return sorted(found, key=lambda one: (-one.severity.rank, one.since))

    def looked_at(self, by: str) -> datetime | None:
        """Return when a looker last looked; None when it never did."""
        with self._reading() as database:
            row = (
                database.execute("SELECT value FROM facts WHERE name = ?", [f"looked/{by}"]).fetchone() if database else None
            )
        return None if row is None else datetime.fromisoformat(row[0])

    def due(self, channel: str, *, now: datetime) -> Waiting | None:
        """Return the oldest message that waits for a channel, once its next attempt is due; later ones wait behind it."""
        with self._reading() as database:
            row = (
                database
                and database.execute(
                    "SELECT messages.id, at, document, attempts, due FROM deliveries JOIN messages USING (id) "
                    f"WHERE channel = ? AND {WAITS} ORDER BY number LIMIT 1",
                    [channel],
                ).fetchone()
            )
        if not row or row[4] > now.timestamp():
            return None
        return Waiting(Message(row[0], _instant(row[1]), json.loads(row[2])), row[3])

    def delivered(self, id: str, channel: str, *, now: datetime) -> None:
        """Mark a message as delivered."""
        self._mark(id, channel, "delivered_at = ?, error = ''", [now.timestamp()])

    def failed(self, id: str, channel: str, error: str, *, next_attempt: datetime) -> None:
        """Note a failed attempt and when the next is due."""
        self._mark(id, channel, "error = ?, due = ?", [error, next_attempt.timestamp()])

    def give_up(self, id: str, channel: str, error: str, *, now: datetime) -> None:
        """Give a message up, so that those behind it are tried; it is counted."""
        self._mark(id, channel, "error = ?, given_up_at = ?", [error, now.timestamp()])

    def standings(self) -> list[ChannelStanding]:
        """Return how each channel stands that messages were made for."""
        with self._reading() as database:
            rows = (
                database.execute(
                    f"SELECT channel, count(*) FILTER (WHERE {WAITS}), max(delivered_at), "
                    f"max(error) FILTER (WHERE {WAITS}), count(given_up_at) "
                    "FROM deliveries GROUP BY channel ORDER BY channel"
                ).fetchall()
                if database
                else []
            )
        return [
            ChannelStanding(row[0], row[1], None if row[2] is None else _instant(row[2]), row[3] or "", row[4])
            for row in rows
        ]

    def pending_events(self) -> int:
        """Return how many events wait for their message: of a group, or for the end of the quiet hours."""
        with self._reading() as database:
            return int(database.execute("SELECT count(*) FROM pending").fetchone()[0]) if database else 0

    def prune(self, channels: Sequence[str], *, now: datetime) -> None:
        """Give up what is past its retention or belongs to no channel any more; remove old messages without a delivery."""
        oldest = (now - timedelta(days=self.settings.alert_retention_days)).timestamp()
        names = ", ".join("?" for _ in channels)
        with self._writing() as database:
            database.execute(
                f"UPDATE deliveries SET given_up_at = ?, error = 'past its retention' WHERE {WAITS} "
                "AND id IN (SELECT id FROM messages WHERE at < ?)",
                [now.timestamp(), oldest],
            )
            database.execute(f"DELETE FROM deliveries WHERE {WAITS} AND channel NOT IN ({names})", list(channels))
            for channel in channels:
                database.execute(
                    f"UPDATE deliveries SET given_up_at = ?, error = 'too many messages waited' WHERE {WAITS} "
                    f"AND channel = ? AND id NOT IN (SELECT id FROM deliveries JOIN messages USING (id) WHERE {WAITS} "
                    "AND channel = ? "
                    f"ORDER BY number DESC LIMIT {self.most_waiting})",
                    [now.timestamp(), channel, channel],
                )
            database.execute(
                f"DELETE FROM deliveries WHERE NOT ({WAITS}) AND id IN (SELECT id FROM messages WHERE at < ?)",
                [oldest - timedelta(days=self.settings.alert_retention_days).total_seconds()],
            )
            database.execute("DELETE FROM messages WHERE id NOT IN (SELECT id FROM deliveries)")
            database.execute(
                f"DELETE FROM pending WHERE id NOT IN (SELECT id FROM pending ORDER BY id DESC LIMIT {MOST_PENDING})"
            )

    def _make_message(self, database: sqlite3.Connection, channels: Sequence[str], *, now: datetime) -> None:
        pending = {
            row[0]: event_of(json.loads(row[1])) for row in database.execute("SELECT id, document FROM pending ORDER BY id")
        }
        ready = due(list(pending.values()), settings=self.settings, now=now)
        if not ready:
            return
        (dropped,) = database.execute(
            "SELECT count(*) FROM deliveries WHERE given_up_at > ?", [self._message_at(database)]
        ).fetchone()
        message = compose(ready, id=str(uuid.uuid4()), settings=self.settings, now=now, dropped=dropped)
        database.execute(
            "INSERT INTO messages (id, at, document) VALUES (?, ?, ?)",
            [message.id, now.timestamp(), json.dumps(message.document)],
        )
        rows = [(message.id, channel, now.timestamp()) for channel in channels]
        database.executemany("INSERT INTO deliveries (id, channel, due) VALUES (?, ?, ?)", rows)
        database.executemany("DELETE FROM pending WHERE id = ?", [(id,) for id, event in pending.items() if event in ready])

    @staticmethod
    def _message_at(database: sqlite3.Connection) -> float:
        return float(database.execute("SELECT coalesce(max(at), 0) FROM messages").fetchone()[0])

    def _mark(self, id: str, channel: str, change: str, values: list[Any]) -> None:
        with self._writing() as database:
            statement = f"UPDATE deliveries SET attempts = attempts + 1, {change} WHERE id = ? AND channel = ?"
            database.execute(statement, [*values, id, channel])

    @staticmethod
    def _tracked(database: sqlite3.Connection) -> dict[str, Tracked]:
        rows = database.execute("SELECT key, document FROM tracked").fetchall()
        return {key: Tracked.from_json(json.loads(document)) for key, document in rows}

    @staticmethod
    def _note(database: sqlite3.Connection, name: str, value: str) -> None:
        database.execute(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", [name, value]
        )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(SCHEMA)
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if not self.path.exists():
            yield None
            return
        with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as database:
            yield database


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
