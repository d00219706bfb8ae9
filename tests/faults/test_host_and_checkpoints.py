"""Two hosts at once, a stop in the middle of a batch, and checkpoints taken away or swapped under the streams of a host.

The tests build on one another, in this order; each ends with the streams running, and every event counted.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import run_rtap, start_rtap
from hosted import (
    END_SECONDS,
    LATE,
    START_SECONDS,
    assert_exact,
    by_name,
    hosted_settings,
    is_gone,
    wait_for_running,
    wait_for_truth,
    wait_for_unfinished_batch,
    wait_until_drained,
)
from polling import wait_until
from stack_fixtures import silent
from stream_fixtures import send_events, snapshots

from rtap_assets.config import Settings
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.launcher import ensure_host
from rtap_assets.host.lock import running_host
from rtap_assets.local.stack import down
from rtap_assets.local.status import status as services
from rtap_assets.streaming.checkpoints.files import newest_committed
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus

WAIT_SECONDS = 60
BACKLOG = 100_000
STOP_SECONDS = 1  # a fraction of what the first batch of a new host takes with that backlog, on one core
IMPATIENT = {
    "stop_timeout_seconds": STOP_SECONDS,
    "spark_master": "local[1]",
    # Nothing is kept for its age, so that the oldest snapshots expire in a maintenance.
    "snapshot_retention_seconds": 0,
    "snapshots_to_keep": 1,
    "reader_pin_seconds": 0,
}
NEAR = {"delayed": 0, "duplicates": 0.02, "invalid": 0.02, "span_seconds": 60}


@dataclass(frozen=True)
class Rivals:
    """Two hosts of one state folder in which nothing ever ran, started at once; what each said."""

    settings: Settings
    winner: subprocess.Popen[str]
    loser: subprocess.Popen[str]
    said_by_loser: str


@pytest.fixture(scope="module")
def rivals(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rivals]:
    """Once one of them has ended; the other is the host of all tests here, with little time for a stop."""
    folder = tmp_path_factory.mktemp("host")
    with hosted_settings(stack, folder / ".rtap", **IMPATIENT) as settings:
        outputs = [folder / "one.out", folder / "two.out"]
        started = []
        for path in outputs:
            with path.open("w", encoding="utf-8") as output:
                started.append(start_rtap(settings, "streams", "serve", output=output))
        try:
            wait_until(lambda: any(one.poll() is not None for one in started), seconds=START_SECONDS, what="one has ended")
            (loser,) = (one for one in started if one.poll() is not None)
            (winner,) = (one for one in started if one is not loser)
            yield Rivals(settings, winner, loser, outputs[started.index(loser)].read_text(encoding="utf-8"))
        finally:
            down(settings, echo=silent)
            for one in started:
                one.kill()
                one.wait()


@pytest.fixture(scope="module")
def hosted(rivals: Rivals) -> Settings:
    return rivals.settings


@pytest.fixture
def client(hosted: Settings) -> Iterator[StreamsClient]:
    with StreamsClient(hosted) as client:
        yield client


def test_of_two_hosts_that_start_at_once_one_serves_and_the_other_is_refused_with_its_pid(
    rivals: Rivals, client: StreamsClient
) -> None:
    owner = running_host(rivals.settings)
    assert owner is not None
    assert owner.pid == rivals.winner.pid
    since = f"since {owner.since:%Y-%m-%d %H:%M:%S}Z"
    assert f"have a host already: process {owner.pid} (stream host, {since})" in rivals.said_by_loser
    assert rivals.loser.returncode == 1
    assert ensure_host(rivals.settings).pid == rivals.winner.pid
    assert {one.observed for one in client.statuses()} == {Observed.STOPPED}
    assert [line.pid for line in services(rivals.settings)] == [rivals.winner.pid]


def test_a_stop_in_the_middle_of_a_long_batch_is_told_as_dirty_and_the_next_start_repeats_the_batch(
    hosted: Settings, client: StreamsClient
) -> None:
    send_events(hosted, events=BACKLOG, **NEAR)
    client.submit("bronze", "start")
    wait_for_unfinished_batch(hosted, "bronze")
    code, output = run_rtap(hosted, "streams", "stop", "bronze")
    fault = time.monotonic()
    assert code == 1, output
    assert f"bronze was stopped in the middle of a batch after {STOP_SECONDS} s: the batch after None was planned" in output
    assert "-> The next start repeats the batch; what it had written already is recognized and not written again." in output
    told = wait_for_truth(
        client, lambda told: told["bronze"].observed is Observed.DIRTY, fault="stopped in a batch", since=fault
    )
    assert told["bronze"].desired is Desired.STOPPED
    assert newest_committed(hosted.checkpoint_dir / "bronze") is None
    code, output = run_rtap(hosted, "streams", "status")
    assert code == 1
    assert line_of(output, "bronze").split()[1:3] == ["stopped", "dirty"]

    code, output = run_rtap(hosted, "streams", "start")
    assert code == 0, output
    wait_until_drained(client)
    assert assert_exact(hosted).apart(LATE) == 0


def without(checkpoint: Path, _: Path) -> None:
    shutil.rmtree(checkpoint)


def with_that_of_another_table(checkpoint: Path, other: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(other, checkpoint)


def without_its_metadata(checkpoint: Path, _: Path) -> None:
    (checkpoint / "metadata").unlink()


DAMAGES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "removed": (without, "The checkpoint of bronze is missing: bronze.sales_events has batch "),
    "swapped": (with_that_of_another_table, "The checkpoint of bronze belongs to query "),
    "without its metadata": (without_its_metadata, " has batches and no `metadata` file."),
}


def test_a_stopped_stream_does_not_start_on_a_damaged_checkpoint_until_it_is_put_back(
    hosted: Settings, client: StreamsClient
) -> None:
    checkpoint, backup = hosted.checkpoint_dir / "bronze", hosted.state_dir / "backup"
    for seed, (name, (damage, message)) in enumerate(DAMAGES.items(), start=2):
        stop(client, "bronze")
        shutil.copytree(checkpoint, backup)
        before = snapshots(hosted)["bronze"]
        send_events(hosted, events=200, seed=seed, **NEAR)
        damage(checkpoint, hosted.checkpoint_dir / "silver")
        fault = time.monotonic()
        code, output = run_rtap(hosted, "streams", "start", "bronze")
        assert code == 1, output
        assert "bronze is refused: The checkpoint" in output
        assert message in output
        told = wait_for_truth(
            client, lambda told: told["bronze"].observed is Observed.REFUSED, fault=f"checkpoint {name}", since=fault
        )
        assert_refused(told["bronze"], message)
        assert {told[name].observed for name in ("dlq", "silver", "gold")} == {Observed.RUNNING}
        assert snapshots(hosted)["bronze"] == before

        assert_shown_refused(hosted, told["bronze"])
        shutil.rmtree(checkpoint, ignore_errors=True)
        shutil.move(backup, checkpoint)
        for action in ("start", "drain"):
            client.wait(client.submit("bronze", action), seconds=WAIT_SECONDS)
    wait_until_drained(client)
    assert assert_exact(hosted).apart(LATE) == 0


def test_checkpoints_changed_under_running_streams_stop_them_and_a_rebuild_makes_all_good(
    rivals: Rivals, hosted: Settings, client: StreamsClient
) -> None:
    wait_for_running(client)
    client.wait(client.submit_for_tables(Action.MAINTAIN), seconds=WAIT_SECONDS)
    bronze, dlq, silver, gold = (hosted.checkpoint_dir / name for name in ("bronze", "dlq", "silver", "gold"))
    aside, other = hosted.state_dir / "aside", hosted.state_dir / "other"
    shutil.copytree(bronze, other)
    fault = time.monotonic()
    silver.rename(aside)
    other.rename(silver)
    dlq.rename(hosted.state_dir / "dlq")
    gold.rename(hosted.state_dir / "gold")
    broken = ("dlq", "silver", "gold")
    told = wait_for_truth(
        client,
        lambda told: {told[name].observed for name in broken} == {Observed.REFUSED},
        fault="checkpoints changed under running streams",
        since=fault,
    )
    assert_refused(told["silver"], "The checkpoint of silver belongs to query ")
    assert_refused(told["dlq"], "The checkpoint of dlq is missing: ")
    assert_refused(told["gold"], "The checkpoint of gold is missing: ")
    assert_shown_refused(hosted, told["silver"])
    assert told["bronze"].observed is Observed.RUNNING

    # From here a fresh start would leave out what has expired in bronze.
    code, output = run_rtap(hosted, "streams", "start", "dlq")
    assert code == 1, output
    assert "has read nothing yet, and the oldest snapshots of bronze.sales_events have expired" in output
    assert "`rtap rebuild dlq`" in output
    (hosted.state_dir / "dlq").rename(dlq)
    send_events(hosted, events=200, seed=5, **NEAR)  # bronze goes on
    wait_until(lambda: (by_name(client)["dlq"].lag_records or 0) >= 200, seconds=WAIT_SECONDS, what="dlq is behind")
    # A foreign checkpoint does not say what silver has read.
    wait_until(lambda: by_name(client)["silver"].lag_records is None, seconds=WAIT_SECONDS, what="silver's lag is not known")

    host = client.host()
    client.wait(client.submit("bronze", "drain"), seconds=WAIT_SECONDS)  # idle, a stop needs no time
    code, output = run_rtap(hosted, "streams", "stop")
    assert code == 0, output
    client.shutdown()
    assert rivals.winner.wait(END_SECONDS) == 0
    wait_until(lambda: is_gone(host.jvm_pid or 0), seconds=END_SECONDS, what="its JVM has ended")
    code, output = run_rtap(hosted, "rebuild", "silver", "--yes")
    assert code == 0, output
    code, output = run_rtap(hosted, "streams", "start")
    assert code == 0, output
    wait_for_running(client)
    wait_until_drained(client)
    assert assert_exact(hosted).apart(LATE) == 0


def assert_refused(status: StreamStatus, message: str) -> None:
    assert status.last_error is not None
    assert status.last_error.code == "refused"
    assert message in status.last_error.message


def assert_shown_refused(settings: Settings, status: StreamStatus) -> None:
    """The command says the cause and the next step, and ends with 1."""
    assert status.last_error is not None
    code, output = run_rtap(settings, "streams", "status")
    assert code == 1
    assert line_of(output, status.name).split()[1:3] == ["running", "refused"]
    assert f"{status.name}: {status.last_error.message}\n  -> {status.last_error.remedy}" in output


def line_of(output: str, stream: str) -> str:
    (line,) = (line for line in output.splitlines() if line.startswith(f"{stream} "))
    return line


def stop(client: StreamsClient, name: str) -> None:
    assert client.wait(client.submit(name, "stop"), seconds=WAIT_SECONDS).result is not None
