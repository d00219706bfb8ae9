"""The pipeline as Dagster runs it, on the real broker and registry: one command, then the UI's own way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psutil
import pytest
from commands import rtap
from dagster_runs import (
    GRAPH,
    RUN_SECONDS,
    TICKS,
    FinishedRun,
    ask_ui,
    execute_job,
    materialise,
    newest_metadata,
    newest_run_of,
    newest_state_checks,
    succeed,
)
from hosted import is_gone
from operated import with_descendants
from polling import wait_until
from stack_fixtures import own_settings, silent, small_and_quick

from rtap_assets.assets.keys import ASSET_OF_STREAM, GOLD_KEY
from rtap_assets.assets.layers import NEWEST_BATCH
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.contracts.tables import TABLES
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.local.ports import free_port, is_free
from rtap_assets.local.stack import down
from rtap_assets.local.status import status
from rtap_assets.serving.connection import open_lake
from rtap_assets.streaming.checkpoints.rollups import standing

EVENTS = 5_000
LAYERS = ("bronze/sales_events", "silver/sales_events", "gold/revenue_5m")
PATIENCE_SECONDS = 2
BOUND_SECONDS = 30  # patience and the last attempt, on a busy machine
MORE_EVENTS = 1_000
TRUTH_SECONDS = 60  # within this time Dagster shows what is so
TICK_SECONDS = 5
FIRST_TICK_SECONDS = 20  # it loads the engines (1.2 s where nothing else runs), and Dagster ends a tick after a minute
ROLL_UP_SECONDS = 10  # sooner than by default, so that a test need not wait for minutes


@pytest.fixture(scope="module")
def pipeline(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Some thousand events in a topic of this module's own; a drain of them takes several batches."""
    with own_settings(stack, tmp_path_factory.mktemp("dagster") / ".rtap") as own:
        settings = small_and_quick(
            own,
            bronze_max_offsets_per_batch=2_000,
            source_max_files_per_batch=3,
            progress_rollup_seconds=ROLL_UP_SECONDS,
        )
        generate(settings, GeneratorOptions(events=EVENTS, seed=6, invalid=0.02), echo=lambda _: None)
        try:
            yield settings
        finally:
            down(settings, echo=silent)


@pytest.fixture(scope="module")
def first_run(pipeline: Settings) -> FinishedRun:
    """`dagster asset materialize -m rtap_assets.definitions --select '*'`."""
    return materialise(pipeline, "*")


@pytest.fixture(scope="module")
def ui(pipeline: Settings, first_run: FinishedRun) -> Iterator[Settings]:
    """The webserver and the daemon over the instance of the first run."""
    rtap(pipeline, "up", "--ui")
    try:
        yield pipeline
    finally:
        rtap(pipeline, "down")


def ask(settings: Settings, question: str) -> tuple[Any, ...]:
    with open_lake(settings) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row


def snapshots(settings: Settings) -> dict[str, list[int]]:
    with open_catalog(settings) as catalog:
        tables = {f"{spec.namespace}/{spec.name}": load_table(catalog, spec.identifier) for spec in TABLES}
    return {name: [snapshot.snapshot_id for snapshot in table.snapshots()] for name, table in tables.items()}


def test_one_command_materialises_every_asset_through_a_host_that_it_starts(
    pipeline: Settings, first_run: FinishedRun
) -> None:
    assert first_run.exit_code == 0, first_run.output[-5_000:]
    assert first_run.jvms == set()
    assert [line.title for line in status(pipeline)] == ["Stream host"]
    assert newest_metadata(pipeline).keys() == {
        *LAYERS,
        "kafka/sales_events_dlq",
        "export/revenue_5m",
        "marts/rolling_revenue",
        "marts/tumbling_revenue",
        "marts/revenue_by_region_hour",
        "marts/revenue_by_plan_hour",
        "marts/refund_share",
        "marts/dlq_by_reason",
        "marts/latency_percentiles",
        "marts/corrections",
    }


def test_a_materialisation_tells_the_rows_snapshots_and_offsets_of_the_lake(
    pipeline: Settings, first_run: FinishedRun
) -> None:
    told = newest_metadata(pipeline)
    ends = end_offsets(pipeline, pipeline.topic_events)
    newest = {name: str(ids[-1]) for name, ids in snapshots(pipeline).items()}
    rows = {name: ask(pipeline, f"SELECT count(*) FROM {name.partition('/')[0]}")[0] for name in LAYERS}
    assert rows["bronze/sales_events"] == sum(ends.values()) == EVENTS
    assert {name: told[name]["dagster/row_count"] for name in LAYERS} == rows
    assert {name: told[name]["snapshot id"] for name in LAYERS} == newest
    assert told["bronze/sales_events"]["source offsets"] == {
        pipeline.topic_events: {str(partition): offset for partition, offset in ends.items()}
    }
    assert told["silver/sales_events"]["source offsets"]["snapshot id"] == newest["bronze/sales_events"]
    assert told["gold/revenue_5m"]["source offsets"]["snapshot id"] == newest["silver/sales_events"]
    read = {name: told[name]["rows read"] for name in (*LAYERS, "kafka/sales_events_dlq")}
    assert read == {
        "bronze/sales_events": EVENTS,
        "kafka/sales_events_dlq": EVENTS,
        "silver/sales_events": EVENTS,
        "gold/revenue_5m": rows["silver/sales_events"],
    }
    assert told["export/revenue_5m"]["dagster/row_count"] == rows["gold/revenue_5m"]
    assert told["export/revenue_5m"]["snapshot id"] == newest["gold/revenue_5m"]
    marts = [name for name in told if name.startswith("marts/")]
    assert {"marts/rolling_revenue", "marts/dlq_by_reason"} <= set(marts)
    for mart in marts:
        assert told[mart]["dagster/row_count"] == ask(pipeline, f"SELECT count(*) FROM {mart.replace('/', '.')}")[0]
        assert set(told[mart]["source snapshots"].values()) == set(newest.values())
        assert told[mart]["preview"].startswith("| ")
    assert all(0 < asset["duration (s)"] < RUN_SECONDS for asset in told.values())


def test_a_materialisation_tells_the_watermark(pipeline: Settings, first_run: FinishedRun) -> None:
    """Silver's is that of its newest batch: the newest event of the batches before, less the delay.

    Gold's is that of the newest event that it has read, less twice the delay.
    """
    told = newest_metadata(pipeline)
    (newest_before,) = ask(
        pipeline, "SELECT max(event_time) FROM silver WHERE processed_at < (SELECT max(processed_at) FROM silver)"
    )
    expected = newest_before - timedelta(seconds=pipeline.watermark_delay_seconds)
    assert told["silver/sales_events"]["watermark"] == expected.timestamp()
    (of_gold,) = ask(pipeline, "SELECT watermark FROM marts.refresh")
    assert told["gold/revenue_5m"]["watermark"] == of_gold.timestamp()
    assert told["marts/rolling_revenue"]["watermark"] == of_gold.timestamp()
    (newest,) = ask(pipeline, "SELECT max(event_time) FROM silver")
    assert of_gold == newest - timedelta(seconds=2 * pipeline.watermark_delay_seconds)


def test_the_ui_shows_the_graph_on_127_0_0_1_alone(ui: Settings) -> None:
    nodes = {"/".join(node["assetKey"]["path"]): node for node in ask_ui(ui, GRAPH)["assetNodes"]}
    upstream = {name: {"/".join(key["path"]) for key in node["dependencyKeys"]} for name, node in nodes.items()}
    assert upstream["bronze/sales_events"] == {"kafka/sales_events"}
    assert upstream["kafka/sales_events_dlq"] == upstream["silver/sales_events"] == {"bronze/sales_events"}
    assert upstream["gold/revenue_5m"] == {"silver/sales_events"}
    assert upstream["kafka/revenue_5m_agg"] == upstream["marts/rolling_revenue"] == {"gold/revenue_5m"}
    listening = {address for line in status(ui) for address in listened_on(psutil.Process(line.pid))}
    # A socket of the JVM is one of IPv6 that takes IPv4.
    assert {address.removeprefix("::ffff:") for address, _ in listening} == {"127.0.0.1"}
    assert {port for address, port in listening if address == "127.0.0.1"} >= {ui.ui_port, ui.streams_port}


def listened_on(parent: psutil.Process) -> set[tuple[str, int]]:
    """Return the addresses on which a service and its children listen; some of these live for a moment only."""
    found = set()
    for process in with_descendants([parent]):
        with suppress(psutil.NoSuchProcess):
            found |= {tuple(one.laddr) for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN}
    return found


def test_a_second_run_from_the_ui_finds_nothing_new_and_adds_no_snapshot(ui: Settings) -> None:
    before = snapshots(ui)
    succeed(ui, "materialize_everything")
    told = newest_metadata(ui)
    drained = (*LAYERS, "kafka/sales_events_dlq")
    assert {name: (told[name]["rows read"], told[name]["micro-batches"]) for name in drained} == dict.fromkeys(
        drained, (0, 0)
    )
    assert told["export/revenue_5m"]["files written"] == 0
    assert snapshots(ui) == before


def test_streams_that_are_started_from_the_launchpad_are_watched_and_stopped(ui: Settings) -> None:
    """Truth without a run: while they stream, materialisations and the checks `stream_state` arrive by themselves."""
    lines = succeed(ui, "start_streams", {"ops": {"start": {"config": {"streams": list(STREAM_NAMES)}}}})
    assert "stream host adopted" in " ".join(lines)
    assert [name for name in STREAM_NAMES if f"{name}: start proven" in lines] == list(STREAM_NAMES), lines

    def shown(observed: str) -> bool:
        checks = newest_state_checks(ui)
        return {(one["observed"], one["passed"], one["run"]) for one in checks.values()} == {(observed, True, "")}

    wait_until(lambda: shown("running"), seconds=TRUTH_SECONDS, what="the checks say running")

    generate(ui, GeneratorOptions(events=MORE_EVENTS, seed=7, invalid=0.02), echo=lambda _: None)
    ends = {str(partition): end for partition, end in end_offsets(ui, ui.topic_events).items()}
    run = materialise(ui, "key:bronze/sales_events")
    assert run.exit_code == 0, run.output[-5_000:]
    assert newest_metadata(ui)["bronze/sales_events"]["source offsets"] == {ui.topic_events: ends}
    wait_until(
        lambda: newest_run_of(ui, GOLD_KEY) == "" and told_batch(ui, "gold/revenue_5m") == committed_batch(ui, "gold"),
        seconds=TRUTH_SECONDS,
        what="gold's commits are told without a run",
    )

    succeed(ui, "stop_streams")
    wait_until(lambda: shown("stopped"), seconds=TRUTH_SECONDS, what="the checks say stopped")
    assert ask(ui, "SELECT count(*) FROM bronze") == (EVENTS + MORE_EVENTS,)
    for name, key in ASSET_OF_STREAM.items():
        asset = key.to_user_string()
        wait_until(
            lambda name=name, asset=asset: told_batch(ui, asset) == committed_batch(ui, name),  # type: ignore[misc]
            seconds=TRUTH_SECONDS,
            what=f"the last batch of {name} is told",
        )


def told_batch(settings: Settings, asset: str) -> int:
    return int(newest_metadata(settings)[asset][NEWEST_BATCH])


def committed_batch(settings: Settings, stream: str) -> int | None:
    reached = standing(settings, stream)
    return None if reached is None else reached.batch_id


@pytest.mark.parametrize("sensor", ["stream_supervisor", "checkpoint_progress"])
def test_the_sensors_run_by_default_and_their_ticks_are_short(ui: Settings, sensor: str) -> None:
    def ended() -> list[dict[str, Any]]:
        ticks = ask_ui(ui, TICKS, sensor=sensor)["sensorOrError"]["sensorState"]["ticks"]
        return sorted((tick for tick in ticks if tick["endTimestamp"]), key=lambda tick: float(tick["timestamp"]))

    assert ask_ui(ui, TICKS, sensor=sensor)["sensorOrError"]["sensorState"]["status"] == "RUNNING"
    wait_until(lambda: len(ended()) > 1, seconds=TRUTH_SECONDS, what="a second tick")
    first, *later = ended()
    assert [tick["error"] for tick in (first, *later) if tick["error"]] == []
    assert first["endTimestamp"] - first["timestamp"] < FIRST_TICK_SECONDS
    assert [tick for tick in later if tick["endTimestamp"] - tick["timestamp"] > TICK_SECONDS] == []


def test_down_ends_the_ui_and_leaves_no_process(ui: Settings) -> None:
    running = [psutil.Process(line.pid) for line in status(ui)]
    family = with_descendants(running)
    assert len(running) == 5
    assert rtap(ui, "down").splitlines() == [
        "Dashboard          stopped",
        "Dagster daemon     stopped",
        "Dagster webserver  stopped",
        "Dagster code       stopped",
        "Stream host        stopped",
    ]
    assert status(ui) == []
    assert [process for process in family if not is_gone(process.pid)] == []
    assert is_free(ui.ui_port)


def test_gold_is_rebuilt_by_a_run_of_its_own_while_no_host_runs(pipeline: Settings, first_run: FinishedRun) -> None:
    question = "SELECT count(*), sum(orders), sum(net_amount), (SELECT count(*) FROM silver) FROM gold"
    before, old = ask(pipeline, question), snapshots(pipeline)
    run = execute_job(pipeline, "rebuild_layer")
    assert run.exit_code == 0, run.output[-5_000:]
    assert len(run.jvms) == 1
    assert ask(pipeline, question) == before
    new = snapshots(pipeline)
    assert {name for name in LAYERS if new[name] != old[name]} == {"gold/revenue_5m"}
    assert not set(new["gold/revenue_5m"]) & set(old["gold/revenue_5m"])
    shown = newest_metadata(pipeline)["gold/revenue_5m"]
    assert (shown["rows read"], shown["dagster/row_count"]) == (before[3], before[0])
    assert shown[NEWEST_BATCH] == committed_batch(pipeline, "gold")
    assert status(pipeline) == []


def test_a_run_without_a_broker_fails_in_bounded_time_and_says_so(pipeline: Settings) -> None:
    nobody = free_port()
    lost = pipeline.model_copy(
        update={
            "kafka_bootstrap": f"127.0.0.1:{nobody}",
            "dependency_patience_seconds": PATIENCE_SECONDS,
            "request_timeout_seconds": PATIENCE_SECONDS,
            "state_dir": pipeline.state_dir / "lost",
            "streams_port": free_port(),
        }
    )
    try:
        run = materialise(lost, "key:bronze/sales_events")
    finally:
        down(lost, echo=silent)
    assert run.exit_code != 0
    said = re.search(r"StreamError: .*bronze cannot be drained: .*", run.output)
    assert said is not None, run.output[-5_000:]
    assert f"127.0.0.1:{nobody}" in said[0]
    assert run.seconds < BOUND_SECONDS + pipeline.startup_timeout_seconds
