"""The published Parquet folder under a reader in another process that never pauses."""

from __future__ import annotations

import multiprocessing
import queue
from datetime import timedelta
from pathlib import Path

import pytest
from export_reader import GOLD_AT_VERSION, read_until, utc_connection
from lake_fixtures import NOON
from polling import wait_until

from rtap_assets.serving.export import publish

REFRESHES = 200
SECONDS_BETWEEN_REFRESHES = 24
RETENTION_SECONDS = 600


def test_a_reader_in_a_loop_sees_each_key_once_over_200_refreshes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    stop, faults = context.Event(), context.Queue()
    announced, published, reads = (context.Value("q", 0) for _ in range(3))
    with utc_connection() as connection:

        def refresh(version: int) -> None:
            connection.execute(f"CREATE OR REPLACE TABLE gold AS {GOLD_AT_VERSION}", {"version": version})
            moment = NOON + timedelta(seconds=SECONDS_BETWEEN_REFRESHES * version)
            publish(connection, tmp_path, retention_seconds=RETENTION_SECONDS, now=moment)

        refresh(0)
        reader = context.Process(target=read_until, args=(stop, tmp_path, announced, published, reads, faults))
        reader.start()
        try:
            wait_until(lambda: bool(reads.value) or not reader.is_alive(), seconds=60, what="the reader reads")
            for version in range(1, REFRESHES + 1):
                if not reader.is_alive():
                    break  # it has found a fault
                announced.value = version
                refresh(version)
                published.value = version
        finally:
            stop.set()
            reader.join(60)
    with pytest.raises(queue.Empty):
        raise AssertionError(faults.get(timeout=0.1))
    assert reader.exitcode == 0
    assert reads.value >= 10
    assert len(list((tmp_path / "versions").iterdir())) == RETENTION_SECONDS / SECONDS_BETWEEN_REFRESHES + 1
