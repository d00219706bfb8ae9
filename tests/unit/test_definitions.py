"""The definitions load without touching anything, and the asset graph is the reviewed one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from rtap_assets.assets.layers import drain_metadata
from rtap_assets.assets.marts import table_metadata
from rtap_assets.config import PROJECT_ROOT, load_settings
from rtap_assets.definitions import build_definitions
from rtap_assets.resources.marts import Marts
from rtap_assets.serving.marts import MARTS
from rtap_assets.streaming.checkpoints.rollups import Standing
from rtap_assets.streaming.model.reports import DrainReport

HERE = Path(__file__).parent
LOAD_SECONDS = 120
BEYOND_DOUBLE = 2**62 + 1  # a browser would show 4611686018427388000


def test_definitions_load_without_network_disk_or_jvm_and_show_the_reviewed_graph(tmp_path: Path) -> None:
    """See `asset_graph_print.py` for what is forbidden while they load. No warning is raised either."""
    nowhere = str(tmp_path / "nowhere")
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", str(PROJECT_ROOT / "tests" / "support" / "asset_graph_print.py")],
        env={"HOME": nowhere, "XDG_CACHE_HOME": nowhere, "RTAP_STATE_DIR": nowhere, "JAVA_HOME": nowhere, "PATH": nowhere},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LOAD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert done.stdout == (HERE / "asset_graph.txt").read_text(encoding="utf-8")


def metadata_of(stream: str, *, watermark_ms: int | None) -> dict[str, Any]:
    report = DrainReport(
        stream=stream,
        batches=2,
        input_rows=10,
        dropped_late=1,
        position={"version": 1, "snapshot_id": BEYOND_DOUBLE, "position": 3, "scan_all_files": False},
        watermark_ms=watermark_ms,
        seconds=1.5,
        restarts=(),
    )
    return drain_metadata(report, None, reached=Standing("a-query", 7))


def test_a_snapshot_id_is_text_in_the_metadata() -> None:
    offsets = metadata_of("dlq", watermark_ms=0)["source offsets"]
    assert offsets.value == {"snapshot id": str(BEYOND_DOUBLE), "files read": 3}


def test_a_watermark_is_shown_for_the_streams_that_have_one_and_not_as_1970() -> None:
    assert "watermark" not in metadata_of("dlq", watermark_ms=0)
    assert metadata_of("silver", watermark_ms=0)["watermark"].value == "none yet"
    assert metadata_of("gold", watermark_ms=1_500)["watermark"].value == 1.5


def drop_table(marts: Marts, connections: list[Any]) -> None:
    with marts.get_connection() as connection:
        connections.append(connection)
        connection.execute("DROP TABLE refund_share")


def test_the_marts_are_opened_read_only_in_utc_and_closed_when_the_block_raises(tmp_path: Path) -> None:
    import duckdb  # noqa: PLC0415

    path = str(tmp_path / "marts.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE TABLE refund_share AS SELECT TIMESTAMPTZ '2026-01-01 00:00+00' AS hour, 'a|b' AS plan_tier"
        )
    marts = Marts(database=path)
    with marts.get_connection() as connection:
        shown = table_metadata(connection, next(mart for mart in MARTS if mart.name == "refund_share"))
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        drop_table(marts, connections := [])
    with pytest.raises(duckdb.ConnectionException):
        connections[0].execute("SELECT 1")
    assert shown["preview"].value.splitlines() == [
        "| hour | plan_tier |",
        "| --- | --- |",
        "| 2026-01-01 00:00:00 | a&#124;b |",
    ]
    assert [(column.name, column.type) for column in shown["dagster/column_schema"].columns] == [
        ("hour", "timestamp with time zone"),
        ("plan_tier", "varchar"),
    ]


def test_two_deployments_in_one_process_differ_by_their_settings_alone(tmp_path: Path) -> None:
    shown = {}
    for name, minutes in {"one": 5, "two": 7}.items():
        settings = load_settings(state_dir=tmp_path / name, topic_dlq=f"{name}.dlq", dq_interval_minutes=minutes)
        definitions = build_definitions(settings)
        assert isinstance(definitions.resources, dict)
        specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
        schedule = definitions.resolve_schedule_def("check_quality_schedule")
        shown[name] = (
            definitions.resources["streams"].settings.state_dir,
            definitions.resources["marts"].database,
            specs["kafka/sales_events_dlq"].metadata["topic"],
            schedule.cron_schedule,
        )
    assert shown == {
        name: (tmp_path / name, str(tmp_path / name / "marts" / "marts.duckdb"), f"{name}.dlq", f"*/{minutes} * * * *")
        for name, minutes in {"one": 5, "two": 7}.items()
    }
    assert list(tmp_path.iterdir()) == []


# Dagster's snapshot of a schedule reads a property that it has deprecated.
@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")
def test_no_secret_is_in_what_dagster_shows_of_the_definitions() -> None:
    settings = load_settings(
        catalog_uri="jdbc:postgresql://db/lake", catalog_user="lake", catalog_password="hunter2", kafka_password="hunter2"
    )
    shown = dg.serialize_value(RepositorySnap.from_def(build_definitions(settings).get_repository_def()))
    assert "may_start_host" in shown  # the configuration of the resources is in it
    assert "hunter2" not in shown
