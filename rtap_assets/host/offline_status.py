"""The status of the streams while no host answers: what was desired, and whether a planned batch is left to repeat.

Reads files only; no Spark, no broker.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.runtime.locks import LOCK_FILE, lock_holder
from rtap_assets.streaming.checkpoints.files import has_unfinished_batch, newest_committed
from rtap_assets.streaming.lifecycle.desired import KeptBreaker, read_breakers, read_desired, read_generations
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus


def has_no_owner(settings: Settings) -> bool:
    """Return whether no JVM owns the checkpoints. A frozen one still does."""
    return lock_holder(settings.checkpoint_dir / LOCK_FILE) is None


def offline_statuses(settings: Settings, *, now: datetime | None = None) -> list[StreamStatus]:
    """Return STOPPED or DIRTY for each stream, by its checkpoint. Only true while `has_no_owner`.

    Raises:
        StreamError: the file of desired states cannot be read.
    """
    now = now or datetime.now(UTC)
    desired, breakers, generations = read_desired(settings), read_breakers(settings), read_generations(settings)
    return [
        replace(
            _at_rest(settings, name, desired.get(name, Desired.STOPPED), breakers.get(name, KeptBreaker()), now=now),
            desired_generation=generations.get(name, 0),
        )
        for name in STREAM_NAMES
    ]


def unknown_statuses(settings: Settings, *, reason: str, now: datetime) -> list[StreamStatus]:
    """Return UNKNOWN for each stream, with what is desired where this machine keeps it. Raises like `offline_statuses`."""
    desired = read_desired(settings) if settings.uses_embedded_host else dict.fromkeys(STREAM_NAMES, Desired.UNKNOWN)
    return [
        StreamStatus(
            name, desired.get(name, Desired.STOPPED), Observed.UNKNOWN, since=now, observed_at=now, valid_until=now
        ).as_unknown(reason=reason, now=now)
        for name in STREAM_NAMES
    ]


def _at_rest(settings: Settings, name: str, desired: Desired, breaker: KeptBreaker, *, now: datetime) -> StreamStatus:
    checkpoint = settings.checkpoint_dir / name
    batch_id = newest_committed(checkpoint)
    commit = None if batch_id is None else (checkpoint / "commits" / str(batch_id)).stat().st_mtime
    committed_at = None if commit is None else datetime.fromtimestamp(commit, UTC)
    return StreamStatus(
        name=name,
        desired=desired,
        observed=Observed.DIRTY if has_unfinished_batch(checkpoint) else Observed.STOPPED,
        since=committed_at or now,
        observed_at=now,
        valid_until=now + timedelta(seconds=settings.status_validity_seconds),
        last_commit_at=committed_at,
        last_batch_id=batch_id,
        failures=len(breaker.breaker.faults),
        last_error=breaker.note,
    )
