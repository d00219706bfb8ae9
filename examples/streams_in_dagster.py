"""A stream that runs for ever, operated from open-source Dagster: the pattern in 100 lines, without Spark or Kafka.

The stream is a process of its own. Dagster starts and stops it with jobs, restarts it with a sensor, and shows what it
committed as materializations that the sensor reports; no run lasts as long as the stream. Try it:

    STREAM_DIR=/tmp/stream dagster dev -f examples/streams_in_dagster.py
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import dagster as dg

FOLDER = Path(os.environ.get("STREAM_DIR", "/tmp/stream"))
TRIGGER_SECONDS = 1.0
LEASE_SECONDS = 10.0  # what was observed longer ago than this is not known any more


def desired() -> bool:
    """Return whether the stream is to run: a file, so that it survives Dagster and the stream alike."""
    return (FOLDER / "desired").exists()


def progress() -> dict[str, float] | None:
    """Return the stream's last commit: batch number, rows so far, time. None before the first."""
    path = FOLDER / "progress.json"
    return json.loads(path.read_text()) if path.exists() else None


def is_running() -> bool:
    """Return whether the stream has proven itself lately: a commit, not a process that merely exists."""
    last = progress()
    return last is not None and time.time() - last["at"] < LEASE_SECONDS


def run_stream() -> None:
    """Commit micro-batches until SIGTERM. Real work replaces the counting; the checkpoint is the progress itself."""
    (FOLDER / "pid").write_text(str(os.getpid()))
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    while not stopping:
        last = progress() or {"batch": -1, "rows": 0}
        fresh = FOLDER / "progress.json.new"
        fresh.write_text(json.dumps({"batch": last["batch"] + 1, "rows": last["rows"] + 10, "at": time.time()}))
        fresh.replace(FOLDER / "progress.json")  # a batch is committed whole or not
        time.sleep(TRIGGER_SECONDS)


def start() -> None:
    """Start the process in a session of its own: it outlives the run, the daemon, and the code server."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"STREAM_DIR": str(FOLDER)}
    os.posix_spawn(sys.executable, [sys.executable, __file__], environment, setsid=True)


@dg.op
def ask_for_start() -> None:
    """Write down what is desired, start, and end with proof rather than with hope."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "desired").touch()
    if not is_running():
        start()
    deadline = time.monotonic() + 30
    while not is_running():
        if time.monotonic() > deadline:
            raise dg.Failure("No commit within 30 s; the stream stays desired, and the sensor goes on trying.")
        time.sleep(0.1)


@dg.op
def ask_for_stop() -> None:
    """Take the wish back, then end the process between two batches."""
    (FOLDER / "desired").unlink(missing_ok=True)
    if is_running():
        os.kill(int((FOLDER / "pid").read_text()), signal.SIGTERM)


@dg.job
def start_stream() -> None:
    """Start the stream; ends when it has committed."""
    ask_for_start()


@dg.job
def stop_stream() -> None:
    """Stop the stream between two batches."""
    ask_for_stop()


EVENTS = dg.AssetSpec("events", description="What the stream appends to.", kinds={"stream"})


@dg.sensor(minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING)
def supervise(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Start a desired stream that has stopped proving itself, and report its commits since the last tick as one event."""
    if desired() and not is_running():
        start()
    last = progress()
    if last is None or str(last["batch"]) == context.cursor:
        return dg.SensorResult(skip_reason="nothing was committed since the last tick")
    metadata = {
        "dagster/row_count": int(last["rows"]),
        "batch": int(last["batch"]),
        "committed": dg.TimestampMetadataValue(last["at"]),
    }
    event = dg.AssetMaterialization("events", metadata=metadata)
    return dg.SensorResult(asset_events=[event], cursor=str(last["batch"]))


defs = dg.Definitions(assets=[EVENTS], jobs=[start_stream, stop_stream], sensors=[supervise])

if __name__ == "__main__":
    run_stream()
