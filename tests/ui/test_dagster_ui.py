"""The live system as a person meets it: `rtap up`, Dagster's UI in a real browser, `rtap down`.

The tests build on one another, in this order; at the end every event is counted. Screenshots of what was seen are kept in
`.screenshots/` (or `UI_SCREENSHOTS`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMAND_SECONDS, finished, run_rtap, start_rtap
from dagster_pages import DagsterPages
from dagster_runs import TICKS, ask_ui
from foreign_page import try_everything
from hosted import END_SECONDS, is_gone
from live_system import LAYERS, counts, evaluated, live_settings, operations, ports_of, processes_of
from playwright.sync_api import sync_playwright
from polling import wait_until
from stack_fixtures import silent

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.definitions import defs
from rtap_assets.demo.proof import prove
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.host.client import StreamsClient
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.local.pid_files import forget, record_of
from rtap_assets.local.ports import is_free
from rtap_assets.local.processes import stop
from rtap_assets.local.stack import down
from rtap_assets.local.status import status
from rtap_assets.streaming.model.operation import OperationState
from rtap_assets.streaming.model.states import Desired, Observed

PICTURES = Path(os.environ.get("UI_SCREENSHOTS") or PROJECT_ROOT / ".screenshots")
TRUTH_SECONDS = 60  # within this time the UI shows what is so
RATE = 200
MORE_EVENTS = 500
EVERYTHING = ["--ui", "--streams", "--generate", str(RATE)]
SENSORS = ["stream_supervisor", "checkpoint_progress", "dlq_lag", "outside_changes", "alerts"]
AS_STARTED, AS_STOPPED = {(Desired.RUNNING, Observed.RUNNING)}, {(Desired.STOPPED, Observed.STOPPED)}
SERVICES = {
    "registry", "kafka", "dashboard", "dagster-code-server", "dagster-daemon", "dagster-webserver", "stream-host",
    "generator",
}  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser; without it these tests are skipped, but never in CI."""
    path = shutil.which("chromium")
    if path is not None:
        return path
    reason = "there is no Chromium on this machine, so the UI is not tested (Debian: apt-get install chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def settings(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A state folder and ports of this module's own; ends what a test left running."""
    own = live_settings(tmp_path_factory.mktemp("ui") / ".rtap")
    try:
        yield own
    finally:
        down(own, echo=silent)


@pytest.fixture(scope="module")
def live(settings: Settings) -> tuple[Settings, str]:
    """The whole system, started by one command, and what the command said."""
    code, said = run_rtap(settings, "up", *EVERYTHING)
    assert code == 0, said
    return settings, said


@pytest.fixture(scope="module")
def pages(live: tuple[Settings, str], chromium: str) -> Iterator[DagsterPages]:
    """A window of the browser on the UI."""
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        yield DagsterPages(page, port=live[0].ui_port, pictures=PICTURES)
        browser.close()


def told_by_host(settings: Settings) -> set[tuple[Desired, Observed]]:
    """What the stream host says is desired and observed; a running stream may start again by itself at any moment."""
    with StreamsClient(settings) as client:
        return {(one.desired, one.observed) for one in client.statuses()}


def runs(settings: Settings) -> list[str]:
    """The ids of all runs, and each job's name."""
    found = ask_ui(settings, "{ runsOrError { ... on Runs { results { runId jobName } } } }")["runsOrError"]["results"]
    return sorted(f"{one['jobName']} {one['runId']}" for one in found if one["jobName"].endswith("_streams"))


def wait_for_states(pages: DagsterPages, state: str, *, after: str) -> None:
    """Return when the UI says this of every stream; prints how long that took."""
    began = time.monotonic()
    for key in ASSET_OF_STREAM.values():
        asset = key.to_user_string()
        wait_until(
            lambda asset=asset: pages.stream_state(asset) == state,  # type: ignore[misc]
            seconds=TRUTH_SECONDS - (time.monotonic() - began),
            what=f"{after}: the UI says {state} of {asset}",
        )
    print(f"{after}: the UI says {state} of all streams after {time.monotonic() - began:.1f} s")


def wait_for_counts(
    settings: Settings, pages: DagsterPages, *, more_than: dict[str, int], seconds: float, after: str
) -> None:
    """Return when the UI shows of each layer the rows that it has, more than before; prints how long that took."""
    began = time.monotonic()
    for asset, layer in LAYERS.items():
        wait_until(
            lambda asset=asset: pages.row_count(asset) == counts(settings)[asset] > more_than[asset],  # type: ignore[misc]
            seconds=seconds,
            what=f"{after}: all rows of {asset} are shown",
        )
        pages.see("since last materialization")  # the freshness policy comes last
        pages.picture(f"asset-{layer}")
    print(f"{after}: the UI shows all rows after {time.monotonic() - began:.1f} s")


def test_ctrl_c_in_the_middle_of_up_ends_everything_that_it_started(settings: Settings) -> None:
    command = start_rtap(settings, "up", *EVERYTHING)
    wait_until(
        lambda: any("java" in one and "spark" in one for one in processes_of(settings).values()),
        seconds=COMMAND_SECONDS,
        what="the JVM of the stream host starts, the last but one of them all",
    )
    command.send_signal(signal.SIGINT)
    code, rest = finished(command)
    assert code == 1
    assert "not everything started; ending what did" in rest
    assert "Kafka broker       stopped" in rest
    assert status(settings) == []
    wait_until(lambda: processes_of(settings) == {}, seconds=END_SECONDS, what=lambda: str(processes_of(settings)))
    assert [port for port in ports_of(settings) if not is_free(port)] == []


def test_one_command_starts_everything_and_tells_the_addresses(live: tuple[Settings, str]) -> None:
    settings, said = live
    assert {line.service: line.state for line in status(settings)} == dict.fromkeys(SERVICES, "running")
    assert len(re.findall(r"^(?:Schema|Kafka|Dagster|Stream|Generator).* started  .* pid \d+", said, re.MULTILINE)) == 7, (
        said
    )
    addresses = said[said.index("ready\n") :]
    for port in (settings.ui_port, settings.streams_port, settings.kafka_port, settings.registry_port):
        assert f"127.0.0.1:{port}" in addresses


def test_the_graph_shows_the_lineage_from_the_topic_to_the_marts(pages: DagsterPages) -> None:
    pages.open("/asset-groups", shows="Global asset lineage")
    groups = ["source", "bronze", "silver", "gold", "marts"]
    boxes = [pages.page.locator("svg foreignObject").get_by_text(group, exact=True).bounding_box() for group in groups]
    lefts = [box["x"] for box in boxes if box is not None]
    assert len(lefts) == len(groups)
    assert lefts == sorted(lefts), "the flow goes from left to right"
    pages.picture("lineage-groups")

    pages.open_asset(
        "kafka/sales_events", view="lineage", more="&lineageScope=downstream&lineageDepth=10", shows="sales_events"
    )
    apart = {"dq_results"}  # comes from no other asset
    names = {key.path[-1] for key in defs.resolve_asset_graph().get_all_asset_keys()} - apart
    wait_until(lambda: pages.missing_in_graph(names) == set(), seconds=TRUTH_SECONDS, what="every asset is in the graph")
    pages.picture("lineage-assets")


@pytest.mark.parametrize("action", ["restart", "drain"])
def test_the_launchpad_opens_with_the_default_and_says_what_it_means(pages: DagsterPages, action: str) -> None:
    pages.open_launchpad(f"{action}_streams")
    written = pages.page.locator(".CodeMirror-code").first.inner_text()
    assert re.findall(r"- (\w+)", written) == list(STREAM_NAMES)
    pages.page.locator(".CodeMirror-line", has_text="streams:").click()
    pages.see("Which streams: any of bronze, dlq, silver, gold.")
    pages.picture(f"launchpad-{action}_streams-described")


def test_streams_are_started_from_the_launchpad(live: tuple[Settings, str], pages: DagsterPages) -> None:
    settings, _ = live
    pages.launch("start_streams")
    assert pages.end_of_run() == "Success"
    for name in STREAM_NAMES:
        pages.see(f"{name}: start proven")
    pages.picture("run-start_streams")
    wait_for_states(pages, "RUNNING", after="started")
    wait_until(lambda: told_by_host(settings) == AS_STARTED, seconds=TRUTH_SECONDS, what="the host says so too")
    pages.picture("check-stream_state-running")


def test_a_page_of_another_site_starts_no_run(live: tuple[Settings, str], pages: DagsterPages) -> None:
    settings, _ = live
    before = runs(settings)
    tried = try_everything(pages.browser, job="stop_streams", port=settings.ui_port)
    assert [
        line for line in tried if line.startswith(("get read", "json", "socket")) and not line.endswith(": refused")
    ] == []
    assert [line for line in tried if line.startswith(("link", "rebound"))] == [tried[-2], "rebound: 421"]
    assert "foreign_origin" in tried[-2]
    assert len(tried) == 26, tried
    assert runs(settings) == before
    assert told_by_host(settings) == AS_STARTED


@pytest.fixture(scope="module")
def first_counts(live: tuple[Settings, str], pages: DagsterPages) -> dict[str, int]:
    """The row counts that are shown first. The generator goes on for a moment after that, and ends."""
    settings, _ = live
    wait_until(lambda: pages.row_count("bronze/sales_events") > 0, seconds=TRUTH_SECONDS, what="bronze has rows")
    shown = {asset: pages.row_count(asset) for asset in LAYERS}
    # Gold has more rows once a new minute's windows have some: what is shown first must not be the end already.
    wait_until(
        lambda: all(rows > shown[asset] for asset, rows in counts(settings).items()),
        seconds=2 * TRUTH_SECONDS,
        what="each layer gets more rows",
    )
    record = record_of(settings, "generator")
    assert record is not None
    assert stop(record) == "stopped"
    forget(settings, record)
    return shown


@pytest.mark.usefixtures("first_counts")
def test_the_checks_tab_shows_the_results(live: tuple[Settings, str], pages: DagsterPages) -> None:
    settings, _ = live
    pages.launch("check_quality")
    assert pages.end_of_run() == "Success"
    pages.picture("run-check_quality")
    for asset, layer in LAYERS.items():
        wait_until(
            lambda asset=asset: pages.checks(asset) == evaluated(settings, asset),  # type: ignore[misc]
            seconds=TRUTH_SECONDS,
            what=f"the checks of {asset} are shown as they are",
        )
        pages.picture(f"checks-{layer}")
    for asset, check in (("bronze/sales_events", "conservation"), ("gold/revenue_5m", "gold_equals_silver")):
        pages.open_asset(asset, view="checks", more=f"&checkDetail={check}", shows="observed 0, at most the threshold 0")


def test_a_cancelled_run_leaves_a_true_state_and_no_orphan(live: tuple[Settings, str], pages: DagsterPages) -> None:
    settings, _ = live
    broker = record_of(settings, "kafka")
    assert broker is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        pages.launch("drain_streams")
        pages.see("bronze: waiting")
        (pid,) = set(re.findall(r"Started process for run \(pid: (\d+)\)", pages.text_with("Started process for run")))
        began = time.monotonic()
        pages.terminate()
        assert pages.end_of_run() == "Canceled"
        print(f"cancelled: the UI says so after {time.monotonic() - began:.1f} s")
        pages.picture("run-cancelled")
        wait_until(lambda: is_gone(int(pid)), seconds=TRUTH_SECONDS, what="the run's process has ended")
        with StreamsClient(settings) as client:
            assert [client.operation(one).state for one in operations(settings, "drain")] == [OperationState.CANCELLED]
            assert {client.operation(one).state for one in operations(settings, "start")} == {OperationState.SUCCEEDED}
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    wait_for_states(pages, "RUNNING", after="cancelled, and the broker is back")
    wait_until(lambda: told_by_host(settings) == AS_STARTED, seconds=TRUTH_SECONDS, what="the host says so too")


def test_fresh_materialisations_of_the_running_streams_tell_the_true_counts(
    live: tuple[Settings, str], pages: DagsterPages, first_counts: dict[str, int]
) -> None:
    settings, _ = live
    patience = TRUTH_SECONDS + settings.progress_rollup_seconds
    wait_for_counts(settings, pages, more_than=first_counts, seconds=patience, after="the generator ended")
    assert pages.row_count("bronze/sales_events") == sum(end_offsets(settings, settings.topic_events).values())
    pages.open_asset("bronze/sales_events", view="events", shows="Committed by the running stream")
    pages.picture("events-bronze")


def test_streams_are_stopped_from_the_launchpad(live: tuple[Settings, str], pages: DagsterPages) -> None:
    settings, _ = live
    before = counts(settings)
    generate(settings, GeneratorOptions(events=MORE_EVENTS, seed=2, delayed=0, span_seconds=60), echo=silent)
    with StreamsClient(settings) as client:
        for name in STREAM_NAMES:
            client.wait(client.submit(name, "drain"))
    pages.launch("stop_streams")
    assert pages.end_of_run() == "Success"
    for name in STREAM_NAMES:
        pages.see(f"{name}: stop proven")
    pages.picture("run-stop_streams")
    wait_for_states(pages, "STOPPED", after="stopped")
    pages.picture("check-stream_state-stopped")
    assert told_by_host(settings) == AS_STOPPED
    wait_for_counts(settings, pages, more_than=before, seconds=TRUTH_SECONDS, after="stopped")


def test_the_rest_of_the_ui_is_there(pages: DagsterPages) -> None:
    for name, path, text in (
        ("timeline", "/overview/activity/timeline", "start_streams"),
        ("automation", "/automation", "stream_supervisor"),
        ("sensor", "/locations/rtap_assets.definitions/sensors/stream_supervisor", "bronze"),
        ("runs", "/runs", "Canceled"),
        ("catalog", "/assets", "rolling_revenue"),
    ):
        pages.open(path, shows=text)
        pages.picture(name)
    assert pages.refused == [], "the UI needs nothing but this machine"
    pages.dismiss()


def test_no_tick_of_a_sensor_failed_since_up(live: tuple[Settings, str]) -> None:
    asked = {name: ask_ui(live[0], TICKS, sensor=name)["sensorOrError"]["sensorState"]["ticks"] for name in SENSORS}
    assert [name for name, ticks in asked.items() if not ticks] == []
    assert {name: tick["error"] for name, ticks in asked.items() for tick in ticks if tick["error"]} == {}


def test_after_all_that_every_event_is_there_once(live: tuple[Settings, str]) -> None:
    proof = prove(live[0])
    assert proof.broken == set(), proof.damage
    assert proof.exit_code == 0, proof.incomplete


def test_down_ends_everything(live: tuple[Settings, str]) -> None:
    settings, _ = live
    code, said = run_rtap(settings, "down")
    assert code == 0, said
    assert [line.split("  ")[0] for line in said.splitlines()] == [
        "Dashboard", "Dagster daemon", "Dagster webserver", "Dagster code", "Stream host", "Schema registry", "Kafka broker",
    ]  # fmt: skip
    assert status(settings) == []
    assert processes_of(settings) == {}
    assert [port for port in ports_of(settings) if not is_free(port)] == []
