"""The live system under test: its settings, its commands and processes, and what is true of it behind Dagster's back."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import psutil
from operated import operated_settings
from stack_fixtures import embedded_settings

from rtap_assets.config import Settings
from rtap_assets.definitions import defs
from rtap_assets.serving.connection import open_lake

LAYERS = {"bronze/sales_events": "bronze", "silver/sales_events": "silver", "gold/revenue_5m": "gold"}
OPERATION = re.compile(r"(\w+) (\w+): operation (\w+)$", re.MULTILINE)


def live_settings(state_dir: Path) -> Settings:
    """Return settings of a stack on free ports, small and quick; no schedule of it comes in between."""
    # A newer materialisation hides a check's result.
    return operated_settings(embedded_settings(state_dir)).model_copy(
        update={"request_timeout_seconds": 5, "progress_rollup_seconds": 150}
    )


def processes_of(settings: Settings) -> dict[int, str]:
    """Every process that was started for this state folder, by whomever: pid -> command."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get("RTAP_STATE_DIR") == str(settings.state_dir):
                found[process.pid] = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return found


def ports_of(settings: Settings) -> list[int]:
    return [
        settings.kafka_port, settings.kafka_controller_port, settings.registry_port, settings.ui_port,
        settings.dashboard_port, settings.streams_port,
    ]  # fmt: skip


def counts(settings: Settings) -> dict[str, int]:
    """Asset -> the rows of its table now."""
    with open_lake(settings) as connection:
        return {
            asset: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for asset, table in LAYERS.items()
        }


def operations(settings: Settings, action: str) -> list[str]:
    """The ids of all operations of this action that the stream host was ever asked for."""
    log = (settings.log_dir / "stream-host.log").read_text(encoding="utf-8")
    return [found[2] for found in OPERATION.findall(log) if found[0] == action]


def evaluated(settings: Settings, asset: str) -> dict[str, str]:
    """Each check of an asset -> what the UI must call its newest result.

    A result that a run found is of the materialisation that was the newest then; Dagster lists it as "Not Evaluated" once
    there is a newer one, and shows it on the check's own page still.
    """
    key = dg.AssetKey(asset.split("/"))
    checks = [check for check in defs.resolve_asset_graph().asset_check_keys if check.asset_key == key]
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
        (latest,) = instance.fetch_materializations(key, limit=1).records
    found = {}
    for check in checks:
        if check not in newest:
            found[check.name] = "never evaluated, which the UI does not say"
            continue
        evaluation = newest[check].evaluation
        target = None if evaluation is None else evaluation.target_materialization_data
        if evaluation is None or (target is not None and target.storage_id != latest.storage_id):
            found[check.name] = "Not Evaluated"
        else:
            found[check.name] = "Succeeded" if evaluation.passed else "Failed"
    return found
