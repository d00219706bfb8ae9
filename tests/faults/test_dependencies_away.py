"""Registry, broker and catalog taken from running streams: each is named within a minute, and nothing is lost for it.

The tests build on one another, in this order; each but the last ends with the streams running, all with every event counted.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx2
import pytest
from commands import run_rtap
from hosted import (
    LATE,
    assert_exact,
    by_name,
    hosted_settings,
    wait_for_running,
    wait_for_truth,
    wait_for_unfinished_batch,
    wait_until_drained,
)
from polling import wait_until
from pyiceberg.table.snapshots import Operation
from stack_fixtures import silent
from stream_fixtures import ask, send_events

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.contracts.tables import SILVER
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.launcher import ensure_host
from rtap_assets.lake.catalog import load_table, open_catalog, sqlite_path
from rtap_assets.local.pid_files import record_of
from rtap_assets.local.stack import up
from rtap_assets.registry.client import Registry
from rtap_assets.streaming.checkpoints.files import newest_committed, newest_planned
from rtap_assets.streaming.lifecycle.desired import read_breakers
from rtap_assets.streaming.lifecycle.restart_policy import Breaker
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.states import Observed, StreamStatus

WAIT_SECONDS = 60
NEAR = {"delayed": 0, "duplicates": 0.02, "invalid": 0.02, "span_seconds": 60}
# With this watermark delay nothing may be missing for having come too late.
IMPATIENT = {
    "request_timeout_seconds": 2,
    "running_proof_seconds": 15,
    "lag_probe_seconds": 1,
    "backoff_longest_seconds": 2,
    "catalog_busy_seconds": 2,
    "watermark_delay_seconds": 10 * 86_400,
    "compaction_min_files": 2,
}
DAYS_BACK = {**NEAR, "span_seconds": 3 * 86_400}


@pytest.fixture(scope="module")
def first_version(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The stack for which the events' second version has not been written yet."""
    folder = tmp_path_factory.mktemp("first") / "schemas"
    shutil.copytree(stack.schemas_dir, folder)
    for path in (folder / EVENTS_SUBJECT_FOLDER).iterdir():
        if path.suffix == ".avsc" and path.stem != "1":
            path.unlink()
    return stack.model_copy(update={"schemas_dir": folder})


@pytest.fixture(scope="module")
def hosted(first_version: Settings, stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A host whose four streams run; its registry knows the first version of the events alone."""
    folder = tmp_path_factory.mktemp("host") / ".rtap"
    with hosted_settings(first_version, folder, schemas_dir=stack.schemas_dir, **IMPATIENT) as settings:
        ensure_host(settings)
        code, output = run_rtap(settings, "streams", "start")
        assert code == 0, output
        yield settings
        up(stack, echo=silent)  # what a failed test left dead


@pytest.fixture
def client(stack: Settings, hosted: Settings) -> Iterator[StreamsClient]:
    up(stack, echo=silent)  # what a failed test left dead
    with StreamsClient(hosted) as client:
        wait_for_running(client)
        yield client


def killed(stack: Settings, service: str) -> float:
    """Kill a service with -9; the time at which it was done."""
    record = record_of(stack, service)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    return time.monotonic()


@contextmanager
def held_catalog(settings: Settings) -> Iterator[None]:
    """Another program holds the catalog's file for the time of the block, and changes nothing."""
    with closing(sqlite3.connect(sqlite_path(settings), isolation_level=None, timeout=WAIT_SECONDS)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def waits_for(status: StreamStatus, dependency: str) -> bool:
    return (status.observed, status.waiting_for) == (Observed.WAITING, dependency)


def assert_shown_waiting(settings: Settings, stream: str, dependency: str) -> None:
    """Both commands say so, neither calls it a failure, and the host itself is well."""
    for command in (["streams", "status"], ["status"]):
        code, output = run_rtap(settings, *command)
        (line,) = (line for line in output.splitlines() if line.startswith(f"{stream} "))
        assert f"waiting for {dependency}" in line, output
        assert code == 0, output
    assert httpx2.get(f"{settings.streams_address}/healthz", trust_env=False).status_code == 200


def assert_shown_dead(stack: Settings, title: str) -> None:
    """`rtap status` of the machine that runs the service names it."""
    code, output = run_rtap(stack, "status")
    assert code == 1, output
    assert f"The {title} (pid " in output
    assert " died. Its last lines:" in output


def assert_goes_on_exactly(settings: Settings, client: StreamsClient, *, fault: str, since: float) -> None:
    """By itself: no breaker counts anything, all run again, every event is there once and none was late."""
    wait_for_running(client)
    print(f"{fault}: all running again {time.monotonic() - since:.1f} s after the repair")
    wait_until_drained(client)
    assert {kept.breaker for kept in read_breakers(settings).values()} <= {Breaker()}
    assert assert_exact(settings).apart(LATE) == 0


def test_a_version_registered_just_before_the_registry_died_is_waited_for_and_decoded(
    stack: Settings, hosted: Settings, client: StreamsClient
) -> None:
    assert len(Registry(hosted).versions(hosted.events_subject)) == 1
    faults: list[float] = []
    # The run registers what is missing and says that it begins; then the registry dies, and the records are sent.
    generate(hosted, GeneratorOptions(events=500, seed=2, **NEAR), echo=lambda _: faults.append(killed(stack, "registry")))
    (fault,) = faults
    told = wait_for_truth(client, lambda told: waits_for(told["bronze"], "registry"), fault="registry killed", since=fault)
    assert told["bronze"].last_error is not None
    assert told["bronze"].last_error.code == "registry_away"
    assert_shown_waiting(hosted, "bronze", "registry")
    assert_shown_dead(stack, "Schema registry")

    wait_until(lambda: by_name(client)["bronze"].failures >= 4, seconds=WAIT_SECONDS, what="it is tried again and again")
    told = by_name(client)
    assert waits_for(told["bronze"], "registry")
    # Only bronze meets new ids: the others ask the registry at starts alone, and go on.
    assert {told[name].observed for name in ("dlq", "silver", "gold")} == {Observed.RUNNING}
    assert ask(hosted, "SELECT count(*) FROM bronze WHERE schema_version = 2") == [(0,)]

    up(stack, echo=silent)
    assert_goes_on_exactly(hosted, client, fault="registry killed", since=time.monotonic())
    ((second,),) = ask(hosted, "SELECT count(*) FROM bronze WHERE schema_version = 2 AND error_reason IS NULL")
    assert second > 0


def test_a_killed_broker_is_waited_for_while_events_flow(stack: Settings, hosted: Settings, client: StreamsClient) -> None:
    before = by_name(client)["bronze"].last_batch_id
    flow = GeneratorOptions(events=None, rate=100, duration_seconds=10, seed=3, **NEAR)
    with ThreadPoolExecutor(1) as pool:
        flowing = pool.submit(generate, hosted, flow, echo=silent)
        wait_until(lambda: by_name(client)["bronze"].last_batch_id != before, seconds=WAIT_SECONDS, what="events flow")
        fault = killed(stack, "kafka")
        try:
            told = wait_for_truth(
                client, lambda told: waits_for(told["bronze"], "broker"), fault="broker killed", since=fault
            )
            assert told["silver"].observed is Observed.RUNNING  # needs tables alone
            assert told["gold"].observed is Observed.RUNNING or waits_for(told["gold"], "broker")
            assert_shown_waiting(hosted, "bronze", "broker")
            assert_shown_dead(stack, "Kafka broker")
        finally:  # the generator waits for it, and the pool for the generator
            up(stack, echo=silent)
        repaired = time.monotonic()
        assert flowing.result().intended == 1_000
    assert_goes_on_exactly(hosted, client, fault="broker killed", since=repaired)


def test_a_catalog_held_by_another_program_is_waited_for(hosted: Settings, client: StreamsClient) -> None:
    with held_catalog(hosted):
        fault = time.monotonic()
        send_events(hosted, events=500, seed=4, **NEAR)
        told = wait_for_truth(client, lambda told: waits_for(told["bronze"], "catalog"), fault="catalog held", since=fault)
        assert told["bronze"].last_error is not None
        assert told["bronze"].last_error.code == "catalog_away"
        assert_shown_waiting(hosted, "bronze", "catalog")
        wait_until(lambda: by_name(client)["bronze"].failures >= 3, seconds=WAIT_SECONDS, what="it is tried again and again")
        print(f"catalog held: for {time.monotonic() - fault:.1f} s")
    assert_goes_on_exactly(hosted, client, fault="catalog held", since=time.monotonic())


def test_a_compaction_as_the_newest_snapshot_keeps_no_drain_waiting(hosted: Settings, client: StreamsClient) -> None:
    for seed in (6, 7):
        send_events(hosted, events=300, seed=seed, **DAYS_BACK)
        wait_until_drained(client)
    report = client.wait(client.submit_for_tables(Action.MAINTAIN), seconds=WAIT_SECONDS).result
    assert report is not None
    replaced = {table["after"]["table"]: table["compaction"]["replaced"] for table in report["tables"]}
    assert replaced[SILVER.identifier] > 0, report
    with open_catalog(hosted) as catalog:
        newest = load_table(catalog, SILVER.identifier).current_snapshot()
    assert newest is not None
    assert newest.summary is not None
    assert newest.summary.operation is Operation.REPLACE

    assert batches_of_drains(client) == dict.fromkeys(STREAM_NAMES, 0)
    wait_for_running(client)
    assert assert_exact(hosted).apart(LATE) == 0


def test_a_stop_waits_for_the_batch_in_flight_and_proves_that_it_is_committed(
    hosted: Settings, client: StreamsClient
) -> None:
    send_events(hosted, events=5_000, seed=5, **NEAR)
    wait_for_unfinished_batch(hosted, "bronze")
    code, output = run_rtap(hosted, "streams", "stop")
    assert code == 0, output
    for name in STREAM_NAMES:
        committed = newest_committed(hosted.checkpoint_dir / name)
        assert newest_planned(hosted.checkpoint_dir / name) == committed
        assert f"newest planned batch = newest committed batch = {committed}" in output
    assert {one.observed for one in client.statuses()} == {Observed.STOPPED}
    wait_until_drained(client)
    assert assert_exact(hosted).apart(LATE) == 0
    assert {one.observed for one in client.statuses()} == {Observed.STOPPED}


def batches_of_drains(client: StreamsClient) -> dict[str, int]:
    """How many batches each layer still needed to be complete."""
    results = {name: client.wait(client.submit(name, "drain"), seconds=WAIT_SECONDS).result for name in STREAM_NAMES}
    return {name: (result or {})["batches"] for name, result in results.items()}
