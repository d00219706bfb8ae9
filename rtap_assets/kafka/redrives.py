"""Sends repaired records again, each identity once, and keeps the ledger of it in a compacted topic.

A transaction holds the records, an entry per identity, and the run's running totals: all become visible together. The next
run reads the ledger after it has fenced the one before, so that it knows everything that was ever sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.contracts.dead_letters import (
    REDRIVE_ATTEMPT,
    REDRIVE_ORIGIN,
    REDRIVE_PREFIX,
    REDRIVE_REPAIR,
    REDRIVE_RUN,
    DeadLetter,
    Headers,
)
from rtap_assets.contracts.topics import DLQ_HEADER_BYTES
from rtap_assets.errors import ConfigurationError
from rtap_assets.kafka.bounded_read import read_after
from rtap_assets.kafka.topics import end_offsets, ensure_topics, has_topic, redrive_topic_specs
from rtap_assets.kafka.transactions import TransactionalProducer
from rtap_assets.runtime.clock import utc_now

EVENTS, PARKED = "events", "parked"
RUN_KEY, IDENTITY_KEY = "run/", "record/"
LONGEST_TRANSACTION = 500
READ_AT_ONCE = 5_000


@dataclass(frozen=True)
class Outgoing:
    """What is sent for a dead letter: to the events topic repaired, or as it is to where letters are parked."""

    letter: DeadLetter
    key: bytes | None
    value: bytes | None
    is_parked: bool = False


@dataclass(frozen=True)
class Run:
    """One redrive, for the audit: who, when, what, and how much it has done so far. Instants are ISO 8601, UTC."""

    id: str
    started_at: str
    by: str
    repair: str
    parameters: dict[str, str]
    selection: str
    sent: int = 0
    parked: int = 0
    newest_at: str = ""


def ledger_key(letter: DeadLetter) -> str:
    """Return the identity in the ledger; with the Kafka timestamp, since a topic made anew has the same offsets again."""
    return f"{IDENTITY_KEY}{letter.identity}/{letter.kafka_timestamp.astimezone(UTC).isoformat(timespec='milliseconds')}"


class Redriver:
    """A sender that has fenced every other one and knows what was sent; from `open_redriver`."""

    def __init__(
        self,
        settings: Settings,
        producer: TransactionalProducer,
        done: dict[str, dict[str, Any]],
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._producer, self._done, self._pause = settings, producer, done, pause

    def was_sent(self, letter: DeadLetter) -> bool:
        return ledger_key(letter) in self._done

    def send(self, outgoing: Sequence[Outgoing], run: Run, *, rate: float) -> Run:
        """Send the records whose identity was not sent before, at most `rate` a second; returns the run with its totals.

        Killed at any point, the transactions that were committed stay and the one under way never happened.

        Raises:
            StreamError: another redrive has taken over, or the broker refused a record.
            DependencyUnavailable: the broker did not answer.
        """
        fresh = {ledger_key(one.letter): one for one in outgoing if not self.was_sent(one.letter)}
        size = max(1, min(LONGEST_TRANSACTION, int(rate)))
        items = list(fresh.items())
        for start in range(0, len(items), size):
            part = items[start : start + size]
            began = time.monotonic()
            run = self._transaction(part, run)
            self._pause(max(0.0, len(part) / rate - (time.monotonic() - began)))
        return run

    def _transaction(self, part: Sequence[tuple[str, Outgoing]], run: Run) -> Run:
        now = utc_now().isoformat(timespec="milliseconds")
        parked = sum(one.is_parked for _, one in part)
        run = Run(**asdict(run) | {"sent": run.sent + len(part) - parked, "parked": run.parked + parked, "newest_at": now})
        entries = {key: _entry(one, run, now) for key, one in part}
        with self._producer.transaction() as transaction:
            for key, one in part:
                topic = self._settings.topic_parked if one.is_parked else self._settings.topic_events
                headers = redrive_headers(one, run, kept=self._settings.redrive_headers)
                transaction.produce(topic, one.value, key=one.key, headers=headers)
                transaction.produce(self._settings.topic_redrives, _json(entries[key]), key=key.encode())
            transaction.produce(self._settings.topic_redrives, _json(asdict(run)), key=f"{RUN_KEY}{run.id}".encode())
        self._done |= entries
        return run


@contextmanager
def open_redriver(settings: Settings, *, pause: Callable[[float], None] = time.sleep) -> Iterator[Redriver]:
    """Fence every earlier sender, end its transaction, then read what was ever sent.

    Raises:
        DependencyUnavailable: the broker did not answer.
        ConfigurationError: the ledger's topic deletes records: then it would be forgotten what was sent.
    """
    found = ensure_topics(settings, redrive_topic_specs(settings))[settings.topic_redrives]
    if "cleanup.policy" in found:
        raise ConfigurationError(
            f"The topic {settings.topic_redrives} {found}.",
            remedy="Set its cleanup.policy to compact: it is the ledger of redrives.",
        )
    producer = TransactionalProducer(
        settings,
        f"rtap-dlq-redrive-{settings.topic_events}",
        max_message_bytes=settings.topic_max_message_bytes + DLQ_HEADER_BYTES,
    )
    with producer:
        yield Redriver(settings, producer, dict(_ledger(settings, IDENTITY_KEY)), pause=pause)


def sent_before(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the ledger's entries by `ledger_key`; {} before the first redrive. Changes nothing."""
    return dict(_ledger(settings, IDENTITY_KEY))


def runs(settings: Settings) -> list[Run]:
    """Return every redrive that sent something, newest first."""
    found = {key: Run(**entry) for key, entry in _ledger(settings, RUN_KEY)}
    return sorted(found.values(), key=lambda run: run.started_at, reverse=True)


def redrive_headers(outgoing: Outgoing, run: Run, *, kept: Sequence[str]) -> list[tuple[str, bytes | None]]:
    """Return the record's headers: of the letter's own those that are allowed, then its origin and number of attempts.

    A parked letter keeps all its headers, with its reason added: nothing of it must be lost.
    """
    letter = outgoing.letter
    own: Headers = tuple((name, value) for name, value in letter.headers if not name.startswith(REDRIVE_PREFIX))
    if not outgoing.is_parked:
        own = tuple((name, value) for name, value in own if name in kept)
    attempt = letter.redriven if outgoing.is_parked else letter.redriven + 1
    ours = {REDRIVE_ORIGIN: letter.origin, REDRIVE_ATTEMPT: str(attempt), REDRIVE_REPAIR: run.repair, REDRIVE_RUN: run.id}
    if outgoing.is_parked:
        ours |= {f"{REDRIVE_PREFIX}reason": letter.reason, f"{REDRIVE_PREFIX}from": letter.identity}
    return [*own, *((name, value.encode()) for name, value in ours.items())]


def _entry(outgoing: Outgoing, run: Run, now: str) -> dict[str, Any]:
    letter = outgoing.letter
    return {
        "run": run.id,
        "at": now,
        "by": run.by,
        "repair": run.repair,
        "to": PARKED if outgoing.is_parked else EVENTS,
        "origin": letter.origin,
        "attempt": letter.redriven if outgoing.is_parked else letter.redriven + 1,
        "reason": letter.reason,
    }


def _ledger(settings: Settings, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries whose key begins with the prefix, in order: of one key, the last is valid."""
    if not has_topic(settings, settings.topic_redrives):
        return
    ends = end_offsets(settings, settings.topic_redrives)
    position: Mapping[int, int] = {}
    while True:
        messages, position = read_after(settings, settings.topic_redrives, after=position, limit=READ_AT_ONCE)
        for message in messages:
            key = (message.key() or b"").decode(errors="replace")
            if key.startswith(prefix) and message.value():
                yield key, json.loads(message.value() or b"{}")
        if all(position.get(partition, 0) >= end for partition, end in ends.items()):
            return


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
