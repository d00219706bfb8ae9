"""Prints what follows from the definitions of the package on the path, as one JSON object. Run by `additions.run_in`."""

from __future__ import annotations

import json
from datetime import timedelta

from lake_fixtures import NOON, gold_row, make_lake, silver_row

import rtap_assets
from rtap_assets.assets.stream_state import SPECS
from rtap_assets.commands.maintenance import REBUILDABLE
from rtap_assets.commands.streaming.streams import names_argument  # noqa: F401 - its choices are STREAM_NAMES
from rtap_assets.config import load_settings
from rtap_assets.contracts.corrections import CORRECTIONS
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.contracts.tables import TABLES
from rtap_assets.definitions import defs
from rtap_assets.host.offline_status import offline_statuses
from rtap_assets.jobs.streams import StreamName
from rtap_assets.kafka.topics import topic_specs
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.lake.table_metrics import table_metrics
from rtap_assets.lake.tables import create_statement
from rtap_assets.quality.full_pass import run_checks
from rtap_assets.serving.connection import open_lake
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.streaming.operations.maintenance import consumers_of
from rtap_assets.streaming.probes.source_probe import dependencies_of
from rtap_assets.streaming.queries.definitions import STREAMS
from rtap_assets.streaming.queries.revenue_windows import REVENUE_WINDOWS
from rtap_assets.transforms.gold import MEASURES


def main() -> None:
    """Fill a small lake, then ask every part what it makes of the definitions."""
    settings = load_settings()
    make_lake(settings, silver=[silver_row("a")], gold=[gold_row(NOON)], watermark=NOON + timedelta(hours=1))
    assets = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    graph = defs.resolve_asset_graph()
    marts = refresh_marts(settings, refreshed_at=NOON)
    results = run_checks(settings, positions=StreamPositions(), now=NOON)
    with open_lake(settings) as lake:
        views = {spec.view: [row[0] for row in lake.execute(f"DESCRIBE {spec.view}").fetchall()] for spec in TABLES}
        rolling = [row[0] for row in lake.execute("DESCRIBE marts.rolling_revenue").fetchall()]
    found = {
        "package": rtap_assets.__file__,
        "deps": {key: sorted(dep.asset_key.to_user_string() for dep in spec.deps) for key, spec in assets.items()},
        "groups": {key: spec.group_name for key, spec in assets.items()},
        "checks": sorted(f"{key.asset_key.to_user_string()} {key.name}" for key in graph.asset_check_keys),
        "streams": list(STREAM_NAMES),
        "launchpad": [name.value for name in StreamName],
        "rebuildable": list(REBUILDABLE.choices),
        "states": [spec.asset_key.to_user_string() for spec in SPECS],
        "at_rest": [status.name for status in offline_statuses(settings)],
        "triggers": {name: stream.trigger_seconds(settings) for name, stream in STREAMS.items()},
        "depends": {name: sorted(dependencies_of(stream)) for name, stream in STREAMS.items()},
        "follow_topics": {name: one.topic_in(settings) for name, one in STREAMS.items() if one.reads_kafka},
        "subtracted_from": list(REVENUE_WINDOWS),
        "topics": [spec.name for spec in topic_specs(settings)],
        "consumers": {spec.identifier: [one.name for one in consumers_of(settings, spec)] for spec in TABLES},
        "measured": [one.table for one in table_metrics(settings)],
        "created": {spec.identifier: create_statement(spec, "t") for spec in TABLES},
        "merged": [spec.identifier for spec in TABLES if spec.is_merged],
        "summed": list(MEASURES),
        "views": views,
        "marts": marts.rows,
        "rolling": rolling,
        "results": {f"{one.table_name} {one.check_name}": one.passed for one in results},
        "ledger": list(CORRECTIONS.column_names),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
