"""Dagster under test as its users run it: the command line, the instance's records, and GraphQL as the UI asks it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import dagster as dg
import psutil
from commands import environment
from polling import wait_until

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.assets.stream_state import STREAM_STATE
from rtap_assets.config import Settings
from rtap_assets.local.dagster_ui import DEFINITIONS, write_dagster_home

RUN_SECONDS = 300
ANSWER_SECONDS = 30
POLL_SECONDS = 0.1

LAUNCH = """
mutation ($job: String!, $config: RunConfigData) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "rtap_assets.definitions", repositoryName: "__repository__", jobName: $job},
    runConfigData: $config
  }) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""
TERMINATE = """
mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
LOGS = """
query ($id: ID!) {
  runOrError(runId: $id) { ... on Run { eventConnection(limit: 1000) { events { ... on MessageEvent { message } } } } }
}"""
TICKS = """
query ($sensor: String!) {
  sensorOrError(sensorSelector: {
    repositoryLocationName: "rtap_assets.definitions", repositoryName: "__repository__", sensorName: $sensor
  }) { ... on Sensor { sensorState {
    status
    ticks(limit: 100) { status timestamp endTimestamp skipReason error { message } }
  } } }
}"""
CHECKS = """
{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization {
  evaluation { metadataEntries {
    label
    ... on TextMetadataEntry { text }
    ... on TimestampMetadataEntry { timestamp }
  } }
} } } } } }"""
GRAPH = "{ assetNodes { assetKey { path } groupName kinds dependencyKeys { path } } }"


@dataclass
class FinishedRun:
    """What a run on the command line said, and which JVMs it had."""

    exit_code: int = -1
    seconds: float = 0.0
    output: str = ""
    jvms: set[int] = field(default_factory=set)


def materialise(settings: Settings, select: str) -> FinishedRun:
    """Run `dagster asset materialize` to its end."""
    return _run_dagster(settings, "asset", "materialize", "-m", DEFINITIONS, "--select", select)


def execute_job(settings: Settings, job: str) -> FinishedRun:
    """Run `dagster job execute` to its end, with the configuration that the launchpad offers."""
    return _run_dagster(settings, "job", "execute", "-m", DEFINITIONS, "-j", job)


def _run_dagster(settings: Settings, *arguments: str) -> FinishedRun:
    write_dagster_home(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", *arguments],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    run, ended, began = FinishedRun(), threading.Event(), time.monotonic()
    watcher = threading.Thread(target=_collect_jvms, args=(process.pid, run.jvms, ended))
    watcher.start()
    try:
        run.output, _ = process.communicate(timeout=RUN_SECONDS)
    finally:
        process.kill()
        ended.set()
        watcher.join()
    run.exit_code, run.seconds = process.returncode, time.monotonic() - began
    return run


def _collect_jvms(pid: int, jvms: set[int], ended: threading.Event) -> None:
    while not ended.wait(POLL_SECONDS):
        try:
            for child in psutil.Process(pid).children(recursive=True):
                # Not spark-submit's shell, and not the short-lived JVM that composes the command line.
                if child.name() == "java" and "org.apache.spark.launcher.Main" not in child.cmdline():
                    jvms.add(child.pid)
        except psutil.NoSuchProcess:
            continue


def newest_metadata(settings: Settings) -> dict[str, dict[str, Any]]:
    """Asset -> what its newest materialisation says; JSON, timestamps and text as plain values. Topics are only observed."""
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        found = {}
        for key in instance.all_asset_keys():
            event = instance.get_latest_materialization_event(dg.AssetKey(key.path))
            if event is None:
                assert instance.fetch_observations(dg.AssetKey(key.path), limit=1).records
                continue
            assert event.asset_materialization is not None
            found[key.to_user_string()] = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    return found


def newest_state_checks(settings: Settings) -> dict[str, dict[str, Any]]:
    """Asset -> what the newest evaluation of its `stream_state` says; "passed" and "run" are of the evaluation itself."""
    found = {}
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        for key in ASSET_OF_STREAM.values():
            history = instance.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(key, STREAM_STATE), limit=1
            )
            for record in history:
                assert record.event is not None
                evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
                said = {name: value.value for name, value in evaluation.metadata.items()}
                found[key.to_user_string()] = said | {"passed": evaluation.passed, "run": record.run_id}
    return found


def shown_state_checks(settings: Settings) -> dict[str, dict[str, Any]]:
    """Asset -> text and instants of its `stream_state` as the UI shows it; none of a check that a materialisation hides."""
    found = {}
    for node in ask_ui(settings, CHECKS)["assetNodes"]:
        for check in node["assetChecksOrError"].get("checks", []):
            execution = check["executionForLatestMaterialization"]
            if check["name"] == STREAM_STATE and execution is not None:
                entries = execution["evaluation"]["metadataEntries"]
                said = {entry["label"]: entry.get("text", entry.get("timestamp")) for entry in entries}
                found["/".join(node["assetKey"]["path"])] = said
    return found


def newest_run_of(settings: Settings, asset: dg.AssetKey) -> str:
    """The run that materialised an asset last; empty when it was told without a run."""
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        event = instance.get_latest_materialization_event(asset)
    return "" if event is None else event.run_id


def succeed(
    settings: Settings, job: str, config: dict[str, Any] | None = None, *, seconds: float = RUN_SECONDS
) -> list[str]:
    """Launch a job as the launchpad does, wait until it has succeeded, return the lines of its log."""
    run_id = launch(settings, job, config)

    def ended() -> bool:
        state = run_status(settings, run_id)
        assert state not in {"FAILURE", "CANCELED"}, messages(settings, run_id)
        return bool(state == "SUCCESS")

    wait_until(ended, seconds=seconds, what=f"{job} has succeeded")
    return messages(settings, run_id)


def launch(settings: Settings, job: str, config: dict[str, Any] | None = None) -> str:
    """Launch a job as the launchpad does; returns the run's id."""
    launched = ask_ui(settings, LAUNCH, job=job, config=config or {})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def terminate(settings: Settings, run_id: str) -> None:
    """Cancel a run as the UI's button does."""
    assert ask_ui(settings, TERMINATE, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"


def run_status(settings: Settings, run_id: str) -> str:
    """The state of a run as the UI shows it."""
    return str(ask_ui(settings, STATUS, id=run_id)["runOrError"]["status"])


def run_worker(settings: Settings, run_id: str) -> int:
    """The pid of the process that executes a run; 0 before it has said so."""
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            if (pid := entry.get_dagster_event().engine_event_data.metadata.get("pid")) is not None:
                return int(str(pid.value))
    return 0


def messages(settings: Settings, run_id: str) -> list[str]:
    """The lines of a run's log."""
    events = ask_ui(settings, LOGS, id=run_id)["runOrError"]["eventConnection"]["events"]
    return [event["message"] for event in events if event]


def ask_ui(settings: Settings, query: str, **variables: Any) -> dict[str, Any]:
    """The data that the webserver answers to a GraphQL query."""
    request = Request(
        f"http://127.0.0.1:{settings.ui_port}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with build_opener(ProxyHandler({})).open(request, timeout=ANSWER_SECONDS) as answer:
        body = json.load(answer)
    assert "errors" not in body, body
    data: dict[str, Any] = body["data"]
    return data
