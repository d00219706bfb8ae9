"""What a look at a checkpoint finds and what a drain reports, as values: no Spark, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rtap_assets.streaming.model.wire import Wire


@dataclass(frozen=True)
class CheckpointReading:
    """What the checkpoint says: the newest committed batch, and whether a later one was planned and not committed."""

    committed: int | None = None
    committed_at: datetime | None = None
    watermark_ms: int | None = None
    is_dirty: bool = False


@dataclass(frozen=True)
class DrainReport(Wire):
    """What a drain did. `position` is where the checkpoint stands now; `watermark_ms` that of the newest batch."""

    stream: str
    batches: int
    input_rows: int
    dropped_late: int
    position: dict[str, Any] | None
    watermark_ms: int | None
    seconds: float
    restarts: tuple[str, ...]
