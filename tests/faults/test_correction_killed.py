"""`rtap correct` killed with -9 once its plan is written, then run again: each event counts once, gold is silver's sum."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from commands import start_rtap
from correction_fixtures import MINUTE, assert_gold_is_the_sum_of_silver, corrected, entries, good, send_and_drain
from killing import kill
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import ask

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import Entry
from rtap_assets.lake.corrections import read_state

PLAN_SECONDS = 180


def test_a_correction_killed_after_its_plan_is_finished_by_the_next_run(spark: SparkSession, streams: Settings) -> None:
    settings = streams.model_copy(update={"spark_driver_memory": "1g", "spark_quick_start": True})
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    send_and_drain(
        spark,
        settings,
        good(settings, range(1, 21), at=start),
        good(settings, range(100, 101), at=start + 60 * MINUTE),
        good(settings, range(101, 102), at=start + 75 * MINUTE),
        [*good(settings, range(1, 6), at=start + 90 * MINUTE), *good(settings, range(30, 31), at=start)],
    )
    log = settings.state_dir / "correct.log"
    with log.open("wb") as output:
        process = start_rtap(settings, "correct", output=output)
    try:
        wait_until(lambda: bool(entries(settings, Entry.PLANNED)), seconds=PLAN_SECONDS, what="a plan is written")
        kill(process, with_jvm=True)
    finally:
        process.kill()
        process.wait()
    assert read_state(settings).pending != (), log.read_text()

    corrected(spark, settings)
    corrected(spark, settings)
    assert read_state(settings).pending == ()
    assert ask(settings, "SELECT count(*), count(DISTINCT event_id) FROM silver") == [(23, 23)]
    assert_gold_is_the_sum_of_silver(settings)
