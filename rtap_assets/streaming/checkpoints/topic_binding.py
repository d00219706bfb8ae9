"""Which topic the checkpoint of a stream belongs to: by the broker's id and not by name, with the epochs before it.

Small JSON files beside the checkpoint, replaced atomically: the binding, and the plan of a continuation that is under way.
Reads and writes alone; what is wrong is judged in `topic_verification.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from rtap_assets.errors import StreamError
from rtap_assets.runtime.files import write_json


@dataclass(frozen=True)
class ClosedQuery:
    """A query that an operator has closed: its newest batch, and what of the topic it had read then."""

    query_id: str
    batch_id: int
    topic_id: str | None
    topic_epoch: int
    positions: Mapping[int, int]
    closed_at: str


@dataclass(frozen=True)
class TopicBinding:
    """The topic that a stream follows. `starting_offsets`: where the checkpoint begins; {} is the topic's beginning."""

    topic: str
    topic_id: str | None
    topic_epoch: int
    bound_at: str
    starting_offsets: Mapping[int, int] = field(default_factory=dict)
    closed: tuple[ClosedQuery, ...] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        closed = tuple(
            ClosedQuery(**one | {"positions": by_partition(one["positions"])}) for one in document.get("closed", ())
        )
        starting = by_partition(document.get("starting_offsets", {}))
        return cls(**dict(document) | {"starting_offsets": starting, "closed": closed})


def read_binding(checkpoint: Path) -> TopicBinding | None:
    """Return what the checkpoint of a stream is bound to; None before the stream's first start.

    Raises:
        StreamError: the file cannot be read.
    """
    path = binding_file(checkpoint)
    document = read_json(path)
    if document is None:
        return None
    try:
        return TopicBinding.from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from error


def write_binding(checkpoint: Path, binding: TopicBinding) -> None:
    """Put the binding on disk; it counts once this returns."""
    write_json(binding_file(checkpoint), asdict(binding), durable=True, default=str)


def binding_file(checkpoint: Path) -> Path:
    """Return the file of the binding; it stays while the checkpoint is put aside."""
    return checkpoint.with_name(f"{checkpoint.name}-topic.json")


def plan_file(checkpoint: Path) -> Path:
    """Return the file of the plan of a continuation."""
    return checkpoint.with_name(f"{checkpoint.name}-continuation.json")


def by_partition(offsets: Mapping[str, int]) -> dict[int, int]:
    """Return offsets whose Kafka partitions were JSON's keys."""
    return {int(partition): int(offset) for partition, offset in offsets.items()}


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the document in the file; None where there is none.

    Raises:
        StreamError: the file cannot be read.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return document


def _unreadable(path: Path, error: Exception) -> StreamError:
    return StreamError(
        f"The file {path} cannot be read: {error}.",
        remedy="Put it back from the backup of the checkpoints; it says which topic the stream has read, and from where.",
    )
