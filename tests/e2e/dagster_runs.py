"""Dagster under test as its users run it: the command line, the instance's records, and GraphQL as the UI asks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import psutil
from dagster import AssetKey, DagsterInstance

from rtap_assets.config import Settings, settings_environment
from rtap_assets.local.dagster_ui import DEFINITIONS, write_dagster_home

RUN_SECONDS = 300
ANSWER_SECONDS = 30
POLL_SECONDS = 0.1

LAUNCH = """
mutation ($job: String!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "rtap_assets.definitions", repositoryName: "__repository__", jobName: $job},
    runConfigData: {}
  }) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
GRAPH = "{ assetNodes { assetKey { path } groupName kinds dependencyKeys { path } } }"


@dataclass
class FinishedRun:
    """What a run on the command line said, and which JVMs it had."""

    exit_code: int = -1
    output: str = ""
    jvms: set[int] = field(default_factory=set)


def environment(settings: Settings) -> dict[str, str]:
    """The environment from which a process reads these settings and this test's instance."""
    return os.environ | settings_environment(settings) | {"DAGSTER_HOME": str(settings.dagster_home)}


def materialise(settings: Settings, select: str) -> FinishedRun:
    """Run `dagster asset materialize` to its end."""
    write_dagster_home(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", "asset", "materialize", "-m", DEFINITIONS, "--select", select],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    run, ended = FinishedRun(), threading.Event()
    watcher = threading.Thread(target=_collect_jvms, args=(process.pid, run.jvms, ended))
    watcher.start()
    try:
        run.output, _ = process.communicate(timeout=RUN_SECONDS)
    finally:
        process.kill()
        ended.set()
        watcher.join()
    run.exit_code = process.returncode
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
    """Asset -> what its newest materialisation says; JSON, timestamps and text as plain values."""
    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        found = {}
        for key in instance.all_asset_keys():
            event = instance.get_latest_materialization_event(AssetKey(key.path))
            assert event is not None
            assert event.asset_materialization is not None
            found[key.to_user_string()] = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    return found


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
