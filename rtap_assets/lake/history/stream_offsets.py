"""Where the streams stand in their sources, from their checkpoints.

Knows no PyIceberg: the status of the streams is read with this, and is to be instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Where Iceberg's source stands in a table that has no snapshot yet.
BEFORE_THE_FIRST_SNAPSHOT = -1


@dataclass(frozen=True)
class StreamPositions:
    """The offsets up to which the streams have read, from their checkpoints.

    `bronze`: Kafka partition -> next offset, of the topic in its `topic_epoch` and with its `topic_id` (None: not known).
    `silver`: silver's position in bronze. `gold_batches`: gold's positions in silver by batch id, the newest ones. A stream
    that has committed nothing has none.
    """

    bronze: Mapping[int, int] = field(default_factory=dict)
    topic_epoch: int = 0
    topic_id: str | None = None
    silver: Mapping[str, int] | None = None
    gold_batches: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
