"""The demo's steps: its own stack on free ports, events with every kind of fault, one Dagster run over all assets.

Everything is in `<state dir>/demo` and starts empty each time, so that a live system is neither read nor changed.
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

# Small batches on purpose: rows are late only if the watermark has advanced before they are read.
BATCHES = 10
SPAN_SECONDS = 3600
MATERIALIZED = "ASSET_MATERIALIZATION - Materialized value "
BEGUN = 'STEP_START - Started execution of step "'


def demo_settings(settings: Settings, *, events: int) -> Settings:
    """Return settings for a pipeline next to the user's own: separate folder, free ports, a tenth of the events a batch."""
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
            "source_max_rows_per_batch": max(1, per_batch // 2),  # the next whole file is included, so a batch each
            "spark_quick_start": True,
            "keep_parts": False,
        }
    )


def demo_events(*, events: int, seed: int) -> GeneratorOptions:
    """Return the options for an hour of history with every fault that real producers cause.

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
    """End the processes of an interrupted demo and remove its folder."""
    if settings.state_dir.exists():
        down(settings, echo=lambda _: None)
        shutil.rmtree(settings.state_dir)


def materialize(settings: Settings, *, echo: Callable[[str], None], begun: Callable[[str], None] = lambda _: None) -> None:
    """Run `dagster asset materialize --select '*'`; the log goes to a file.

    Each asset goes to `echo` as it completes, each step to `begun` as it starts.

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
                if BEGUN in line:
                    begun(line.split(BEGUN)[1].split('"')[0].replace("__", "/"))
                if MATERIALIZED in line:
                    echo(line.split(MATERIALIZED)[1].strip().rstrip(".").replace(" ", "/"))
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
