"""A backup between two drains, restored at another path: the drains go on from it, and every event counts once."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from living_folder import contents_of
from pyspark.sql import SparkSession
from stack_fixtures import silent
from stream_fixtures import ask, drain, send_events

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError, LocalStackError, StreamError
from rtap_assets.host.lock import only_host
from rtap_assets.host.token import ensure_token, token_path
from rtap_assets.lake.catalog import spark_catalog_conf, sqlite_path
from rtap_assets.local.backup import MANIFEST, back_up, restore
from rtap_assets.streaming.checkpoints.layers import open_layers

COUNTS = "SELECT (SELECT count(*) FROM bronze), (SELECT count(*) FROM silver), (SELECT sum(amount) FROM silver)"
FIGURES = "SELECT currency, sum(gross_amount), sum(refund_amount) FROM gold GROUP BY ALL ORDER BY ALL"


def test_drains_go_on_from_a_restored_backup_at_another_path_with_exact_counts(
    spark: SparkSession, streams: Settings, tmp_path: Path
) -> None:
    send_events(streams, seed=1, events=3_000, duplicates=0.05, delayed=0, span_seconds=600)
    drain(spark, streams)
    ensure_token(streams)
    taken = tmp_path / "backup"
    with open_layers(spark, streams), pytest.raises(StreamError, match="are in use by"):
        back_up(streams, tmp_path / "refused", echo=silent)
    with only_host(streams), pytest.raises(StreamError, match="have a host already"):
        back_up(streams, tmp_path / "refused", echo=silent)
    # Another reader keeps the newest commits in the write-ahead log, where a copy of the file would miss them.
    with closing(sqlite3.connect(sqlite_path(streams))) as reader:
        reader.execute("SELECT count(*) FROM iceberg_tables").fetchall()
        before = ask(streams, COUNTS)
        made = back_up(streams, taken, echo=silent)
    assert made.files > 50
    with pytest.raises(ConfigurationError, match="is in use"):
        back_up(streams, taken, echo=silent)

    # The live system goes on, and so does the topic.
    send_events(streams, seed=2, events=1_000, duplicates=0.05, delayed=0, span_seconds=600)
    drain(spark, streams)
    after = ask(streams, COUNTS), ask(streams, FIGURES)
    assert after[0] != before

    elsewhere = streams.model_copy(update={"state_dir": tmp_path / "elsewhere" / ".rtap"})
    restore(elsewhere, taken, echo=silent)
    assert ask(elsewhere, COUNTS) == before
    assert not token_path(elsewhere).exists()
    assert [path for path, text in texts(elsewhere.lake_dir).items() if str(streams.state_dir).encode() in text] == []
    with pytest.raises(LocalStackError, match="is not empty"):
        restore(elsewhere, taken, echo=silent)
    streams.lake_dir.rename(tmp_path / "away")  # nothing is read from the old place
    moved = spark.newSession()  # its catalogs are its own, so this one may have the name of the other
    for key, value in spark_catalog_conf(elsewhere).items():
        moved.conf.set(key, value)
    with open_layers(moved, elsewhere):
        drain(moved, elsewhere)
    assert (ask(elsewhere, COUNTS), ask(elsewhere, FIGURES)) == after

    damaged = next(taken.rglob("*.parquet"))
    damaged.unlink()
    damaged.write_bytes(b"PAR1")
    third = streams.model_copy(update={"state_dir": tmp_path / "third"})
    with pytest.raises(LocalStackError, match="differs from its checksum"):
        restore(third, taken, echo=silent)
    assert not third.state_dir.exists()
    (taken / MANIFEST).unlink()
    with pytest.raises(ConfigurationError, match="is no backup, or one that was not finished"):
        restore(third, taken, echo=silent)


def texts(lake: Path) -> dict[Path, bytes]:
    """Return the content of the catalog and of the metadata of the tables."""
    found = {path: content for path, content in contents_of(lake).items() if path.suffix != ".parquet"}
    assert any(path.suffix == ".json" and json.loads(content) for path, content in found.items())
    return found
