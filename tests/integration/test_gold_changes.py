"""Rows taken out of silver: gold follows, to the cent; and checkpoints and tables that gold cannot go on with."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from stream_fixtures import ask, assert_newest_messages_are_gold, drain, received, send_events, snapshots

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD, SILVER
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import newest_stream_commit, newest_watermark_ms
from rtap_assets.streaming.checkpoints.files import newest_committed
from rtap_assets.streaming.operations.rebuild import rebuild_layer
from rtap_assets.streaming.queries.definitions import GOLD_STREAM
from rtap_assets.streaming.queries.gold_sink import subtract_rows
from rtap_assets.streaming.queries.revenue_windows import revenue_5m

MEASURES = "window_start, plan_tier, region, currency, gross_amount, refund_amount, net_amount, orders, refunds"
# Every event is in as many windows as the window has slides; the sums are exact decimals in DuckDB, too.
RECOMPUTED = """
    SELECT to_timestamp(epoch_us(event_time) // 60000000 * 60 - step * 60) AS window_start, plan_tier, region, currency,
        coalesce(sum(net_amount) FILTER (event_type <> 'refund'), 0)::DECIMAL(28, 4),
        -coalesce(sum(net_amount) FILTER (event_type = 'refund'), 0)::DECIMAL(28, 4),
        sum(net_amount)::DECIMAL(28, 4),
        count(*) FILTER (event_type <> 'refund'), count(*) FILTER (event_type = 'refund')
    FROM silver, range(5) steps(step) GROUP BY ALL ORDER BY ALL"""


def assert_gold_is_silver(settings: Settings) -> None:
    held = ask(settings, f"SELECT {MEASURES} FROM gold WHERE orders + refunds > 0 ORDER BY ALL")
    assert held == ask(settings, RECOMPUTED)
    rest = ask(settings, "SELECT DISTINCT gross_amount, refund_amount, net_amount FROM gold WHERE orders + refunds = 0")
    assert rest in ([], [(Decimal(0), Decimal(0), Decimal(0))])
    assert ask(settings, "SELECT count(*) - count(DISTINCT (window_start, plan_tier, region, currency)) FROM gold") == [(0,)]


def taken_out(session: SparkSession, settings: Settings, where: str) -> DataFrame:
    """The rows of silver that the condition names, after they were deleted from it."""
    table = f"{settings.catalog_name}.{SILVER.identifier}"
    rows = session.table(table).where(where).localCheckpoint()
    session.sql(f"DELETE FROM {table} WHERE {where}")
    return rows


def before_and_after(changes: list[dict[str, Any]], name: str) -> Decimal | int:
    return sum(change[name] - change[f"old_{name}"] for change in changes)


def test_gold_follows_what_is_taken_out_of_silver_and_refuses_what_it_cannot_go_on_with(
    spark: SparkSession, streams: Settings
) -> None:
    # A snapshot of silver is one batch of gold; the first events make two.
    streams = streams.model_copy(update={"bronze_max_offsets_per_batch": 1_000, "source_max_files_per_batch": 64})
    send_events(streams, events=1_500, invalid=0, delayed=0, span_seconds=5_400)
    drain(spark, streams)
    assert_gold_is_silver(streams)
    with open_catalog(streams) as catalog:
        stamped = newest_stream_commit(load_table(catalog, GOLD.identifier))
        watermark_ms = newest_watermark_ms(load_table(catalog, GOLD.identifier))
    newest_ms = ask(streams, "SELECT max(epoch_ms(event_time)) FROM silver")[0][0]
    assert watermark_ms == newest_ms - 2 * streams.watermark_delay_seconds * 1_000
    assert ask(streams, "SELECT sum(revision) FROM gold") == [(0,)]

    # One row, and the rows of an account in all its windows.
    lone = ask(
        streams,
        """SELECT event_id FROM silver WHERE event_type <> 'refund' QUALIFY count(*) OVER (
           PARTITION BY time_bucket(INTERVAL 9 MINUTES, event_time), plan_tier, region, currency) = 1 LIMIT 1""",
    )[0][0]
    account = ask(streams, "SELECT account_id FROM silver GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")[0][0]
    rows = taken_out(spark, streams, f"event_id = '{lone}' OR account_id = '{account}'")
    net = sum(row.net_amount for row in rows.select("net_amount").collect())
    removed = rows.count()
    sent = len(received(streams, streams.topic_revenue))
    changes = subtract_rows(spark, streams, revenue_5m(streams), rows, correction_id="c-1", cause="erased")
    assert before_and_after(changes, "net_amount") == -5 * net
    assert before_and_after(changes, "orders") + before_and_after(changes, "refunds") == -5 * removed
    assert {(change["old_revision"], change["revision"]) for change in changes} == {(0, 1)}
    assert len(received(streams, streams.topic_revenue)) == sent + len(changes)
    assert_gold_is_silver(streams)
    assert_newest_messages_are_gold(streams)
    assert ask(streams, "SELECT count(*) FROM gold WHERE revision = 1") == [(len(changes),)]

    # Again, it changes nothing; what a later writer of the session commits is not marked as the correction's.
    standing = snapshots(streams)
    assert subtract_rows(spark, streams, revenue_5m(streams), rows, correction_id="c-1", cause="erased") == []
    assert snapshots(streams) == standing
    assert [key for key in spark.conf.getAll if "snapshot-property" in key] == []
    with open_catalog(streams) as catalog:
        assert newest_stream_commit(load_table(catalog, GOLD.identifier)) == stamped

    # The stream goes on past the deletion, and adds to the windows that were corrected.
    send_events(streams, events=400, invalid=0, delayed=0, span_seconds=5_400, seed=2)
    drain(spark, streams)
    assert_gold_is_silver(streams)
    assert_newest_messages_are_gold(streams)

    # A table that was rolled back lacks what its stream has added.
    procedure = f"{streams.catalog_name}.system.rollback_to_snapshot('{GOLD.identifier}', {standing['gold'][-1]})"
    spark.sql(f"CALL {procedure}").collect()
    with pytest.raises(StreamError, match=r"gold has committed batch \d+: gold\.revenue_5m has batch .* rolled back") as no:
        drain(spark, streams, "gold")
    assert "`rtap rebuild gold`" in no.value.remedy

    # The newest change of silver is a deletion: a rebuild must not bring back what it removed.
    taken_out(spark, streams, "event_type = 'renewal'")
    rebuild_layer(spark, streams, "gold")
    assert_gold_is_silver(streams)
    send_events(streams, events=100, invalid=0, delayed=0, span_seconds=5_400, seed=3)
    drain(spark, streams)
    assert_gold_is_silver(streams)

    # A checkpoint of the version that kept a state in it.
    checkpoint = GOLD_STREAM.checkpoint(streams)
    assert not (checkpoint / "state").exists()
    (checkpoint / "state" / "0").mkdir(parents=True)
    at = newest_committed(checkpoint)
    with pytest.raises(StreamError, match="gold was written by an earlier version, which kept a state") as no:
        drain(spark, streams, "gold")
    assert "`rtap rebuild gold`" in no.value.remedy
    assert newest_committed(checkpoint) == at
    rebuild_layer(spark, streams, "gold")
    assert_gold_is_silver(streams)
