"""The steady generator among the embedded services: `rtap generate --rate …` in the background, until `rtap down`."""

from __future__ import annotations

import sys

from rtap_assets.config import Settings, settings_environment
from rtap_assets.local.processes import Service

NAME = "generator"


def generator_service(settings: Settings, *, rate: float) -> Service:
    """Return a generator of `rate` records a second. Asked to end, it settles its chunk, so that the ledger is complete."""
    return Service(
        name=NAME,
        title="Generator",
        command=[sys.executable, "-m", "rtap_assets.cli", "generate", "--rate", f"{rate:.12g}"],
        is_ready=lambda: True,  # it listens nowhere; `rtap status` shows when it has died
        environment=settings_environment(settings),
    )
