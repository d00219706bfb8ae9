"""The host process as it introduces itself to its callers."""

from __future__ import annotations

from dataclasses import dataclass

from rtap_assets.streaming.model.wire import Instant, Wire


@dataclass(frozen=True)
class HostDescription(Wire):
    """One stream host. `stopping`: it is about to end and takes no commands."""

    pid: int
    since: Instant
    state_dir: str
    version: str
    jvm_pid: int | None
    stopping: bool = False
