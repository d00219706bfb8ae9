"""Runs the added stream over a silver row, in a Spark session of the package on the path. Run by `additions.run_in`.

Prints one JSON object: the rows of both tables of revenue windows, and the message of an added column.
"""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from fastavro import parse_schema, schemaless_reader
from lake_fixtures import NOON, silver_row
from spark_fixtures import frame_of, rows_of, with_own_catalog

import rtap_assets
from rtap_assets.config import load_settings
from rtap_assets.contracts.avro.schemas import load_subject
from rtap_assets.contracts.avro.wire import unframe
from rtap_assets.contracts.tables import GOLD, SILVER
from rtap_assets.contracts.topics import REVENUE_TOPIC
from rtap_assets.lake.tables import create_statement, ensure_tables
from rtap_assets.streaming.operations.maintenance import consumers_of, maintain_tables
from rtap_assets.streaming.queries.definitions import STREAMS
from rtap_assets.streaming.queries.gold_sink import subtract_rows
from rtap_assets.streaming.queries.query_handle import start_stream
from rtap_assets.streaming.queries.revenue_windows import REVENUE_WINDOWS
from rtap_assets.streaming.session import start_session
from rtap_assets.transforms.gold import apply_changes, build_revenue_messages, sum_panes, sum_windows

ADDED = "upgrades"


def main() -> None:
    """Evolve gold, run the stream `gold_1h`, maintain its table, subtract a row from it, encode a window of gold."""
    state = Path(tempfile.mkdtemp())
    base = load_settings(state_dir=state, spark_driver_memory="1g", spark_quick_start=True)
    spark = start_session(base)
    settings = with_own_catalog(spark, base)
    older = replace(GOLD, columns=tuple(column for column in GOLD.columns if column.name != ADDED))
    spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {settings.catalog_name}.{GOLD.namespace}")
    spark.sql(create_statement(older, f"{settings.catalog_name}.{GOLD.identifier}"))
    ensure_tables(spark, settings.catalog_name)
    events = frame_of(spark, SILVER, [silver_row("a"), silver_row("b", event_type="upgrade")])
    events.writeTo(f"{settings.catalog_name}.{SILVER.identifier}").append()

    stream = STREAMS["gold_1h"]
    query = start_stream(spark, settings, stream, trigger_seconds=0)
    query.processAllAvailable()
    query.stop()
    windows_1h = REVENUE_WINDOWS["gold_1h"](settings)
    hours = rows_of(spark.table(windows_1h.name_in(settings)))
    maintained = [one.after.table for one in maintain_tables(spark, settings, echo=lambda _: None).tables]
    subtract_rows(spark, settings, windows_1h, events.where("event_id = 'b'"), correction_id="c", cause="late")
    left = rows_of(spark.table(windows_1h.name_in(settings)))

    panes = sum_panes(events, slide_seconds=60)
    changes = sum_windows(panes, window_seconds=300, slide_seconds=60, updated_ms=0, final_before_ms=0)
    windows = apply_changes(changes, spark.table(f"{settings.catalog_name}.{GOLD.identifier}")).where(
        "window_start = TIMESTAMP '2026-03-01 12:00:00'"
    )
    schema = load_subject(Path(rtap_assets.__file__).parent / "schemas", REVENUE_TOPIC.schemas)[-1].text
    (message,) = rows_of(build_revenue_messages(windows, schema_id=7, schema=schema))
    published = schemaless_reader(io.BytesIO(unframe(message["value"])[1]), parse_schema(json.loads(schema)), None)
    assert isinstance(published, dict)
    found = {
        "package": rtap_assets.__file__,
        "hours": [[row["window_start"] == NOON, row["orders"], row[ADDED], str(row["net_amount"])] for row in hours],
        "left": [[row["orders"], row[ADDED], row["revision"]] for row in left],
        "maintained": maintained,
        "columns": spark.table(f"{settings.catalog_name}.{GOLD.identifier}").columns,
        "published": {"orders": published["orders"], ADDED: published[ADDED]},
        "consumers": [one.name for one in consumers_of(settings, SILVER) if one.snapshot_ids],
    }
    spark.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
