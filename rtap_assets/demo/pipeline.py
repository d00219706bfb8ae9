"""The demo's steps: a stack of its own on free ports, events with every kind of trouble, one materialisation by Dagster.

It keeps everything in `<state dir>/demo` and starts from nothing each time, so it neither sees nor touches a live system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rtap_assets.config import Settings, settings_environment
from rtap_assets.contracts.rules import Reason
from rtap_assets.errors import StreamError
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.local.dagster_ui import write_dagster_home
from rtap_assets.local.ports import free_ports
from rtap_assets.local.stack import down

# Small batches on purpose: late rows exist only where a watermark has moved on before they are read.
BATCHES = 10
SPAN_SECONDS = 3600
MATERIALISED = "ASSET_MATERIALIZATION - Materialized value "


def demo_settings(settings: Settings, *, events: int) -> Settings:
    """Settings for a pipeline beside the user's own: its own folder and free ports, batches of a tenth of the events."""
    kafka, controller, registry, streams = free_ports(4)
    per_batch = max(1, events // BATCHES)
    return settings.model_copy(
        update={
            "state_dir": settings.state_dir / "demo",
            "kafka_bootstrap": "",
            "registry_url": "",
            "kafka_port": kafka,
            "kafka_controller_port": controller,
            "registry_port": registry,
            "streams_url": "",
            "streams_port": streams,
            "catalog_uri": "",
            "warehouse": "",
            "bronze_max_offsets_per_batch": per_batch,
            "source_max_rows_per_batch": per_batch,
            "spark_quick_start": True,
            "keep_parts": False,
        }
    )


def demo_events(*, events: int, seed: int) -> GeneratorOptions:
    """Return an hour of history with every trouble that real producers make.

    Duplicates, delayed events and later copies of events, every reason code, both schema versions and another team's
    schemas, a transaction that is committed and one that is aborted.
    """
    return GeneratorOptions(
        events=events,
        seed=seed,
        span_seconds=SPAN_SECONDS,
        delayed=0.02,
        invalid=0.01,
        reasons=tuple(Reason),
        later_copies=0.002,
        foreign_schemas=0.1,
        transactions=2,
    )


def start_from_nothing(settings: Settings) -> None:
    """End what an interrupted demo left running and remove its folder."""
    if settings.state_dir.exists():
        down(settings, echo=lambda _: None)
        shutil.rmtree(settings.state_dir)


def materialise(settings: Settings, *, echo: Callable[[str], None]) -> None:
    """Run `dagster asset materialize --select '*'` and tell of each asset as it is done; the whole log goes to a file.

    Raises:
        StreamError: the run failed; the end of its log is part of the message.
    """
    write_dagster_home(settings)
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    log = settings.log_dir / "materialize.log"
    command = [
        sys.executable, "-W", "ignore", "-m", "dagster", "asset", "materialize",
        "-m", "rtap_assets.definitions", "--select", "*",
    ]  # fmt: skip
    environment = os.environ | settings_environment(settings) | {"DAGSTER_HOME": str(settings.dagster_home)}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            for line in process.stdout or ():
                file.write(line)
                if MATERIALISED in line:
                    echo(line.split(MATERIALISED)[1].strip().rstrip(".").replace(" ", "/"))
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
    if process.returncode:
        raise StreamError(
            f"Dagster's run failed with exit code {process.returncode}:\n{_end_of(log)}", remedy=f"The whole log: {log}"
        )


def _end_of(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8").splitlines()[-lines:])
