"""Erasure of an account on the real parts: no byte of it is left in a file of the tables, and everything reconciles."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from correction_fixtures import killed, newest_schema, run_of
from event_bytes import Record, body, event, event_id, framed
from living_folder import contents_of
from pyspark.sql import SparkSession
from stream_fixtures import ask, checked, drain, send

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import Entry
from rtap_assets.contracts.tables import BRONZE, SILVER
from rtap_assets.errors import ConfigurationError, StreamError
from rtap_assets.lake.corrections import read_entries, read_state
from rtap_assets.lake.offset_gaps import read_gaps
from rtap_assets.registry.client import Registry
from rtap_assets.serving.export import export_gold
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.streaming.operations.corrections.api import correct
from rtap_assets.streaming.operations.corrections.erase import erase_account
from rtap_assets.streaming.operations.maintenance import expire_when_due

ACCOUNT, OTHER = "acct-forget-me-77", "acct-forget-me-778"


def purchase(settings: Settings, number: int, account: str, *, at: datetime, key: str | None = None) -> Record:
    schema_id = max(Registry(settings).versions(settings.events_subject))
    fields = event(event_id=event_id(number), event_time=at, ingest_time=at, account_id=account, amount=Decimal("12.5000"))
    return Record(framed(schema_id, body(fields, newest_schema(settings))), key=(account if key is None else key).encode())


def files_that_match(settings: Settings, pattern: bytes) -> list[str]:
    """The files below the state folder that hold such bytes, as they are or inside a Parquet file's values."""
    wanted = re.compile(pattern)
    files = sorted(contents_of(settings.state_dir).items())
    return [str(path.relative_to(settings.state_dir)) for path, content in files if _matches(path, content, wanted)]


def _matches(path: Path, content: bytes, wanted: re.Pattern[bytes]) -> bool:
    if wanted.search(content):
        return True
    if path.suffix != ".parquet":
        return False
    rows = pq.ParquetFile(BytesIO(content)).read().to_pylist()
    return any(wanted.search(_as_bytes(value)) for row in rows for value in row.values())


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def test_an_erased_account_leaves_no_byte_behind_and_the_figures_reconcile(spark: SparkSession, streams: Settings) -> None:
    settings = streams.model_copy(update={"snapshot_retention_seconds": 0, "reader_pin_seconds": 0})
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    records = [purchase(settings, number, ACCOUNT, at=start) for number in range(1, 6)]
    records += [purchase(settings, number, OTHER, at=start) for number in range(6, 10)]
    good_value = records[0].value or b""
    records += [
        Record(good_value[:-3], key=b"no-account"),  # quarantined: cut off, the account inside
        Record(b"\x00\x00", key=ACCOUNT.encode()),  # quarantined: too short, the account as key
    ]
    send(settings, records)
    drain(spark, settings, "bronze")
    with pytest.raises(StreamError, match="have not read all"):
        erase_account(run_of(spark, settings), ACCOUNT)
    drain(spark, settings)
    correct(run_of(spark, settings))
    revenue = "SELECT sum(net_amount), sum(orders)::BIGINT FROM gold"
    before = ask(settings, revenue)
    with pytest.raises(ConfigurationError, match="No account"):
        erase_account(run_of(spark, settings), " ")
    planned = erase_account(run_of(spark, settings), ACCOUNT, dry_run=True)
    assert (planned.bronze_rows, planned.silver_rows, planned.dry_run) == (7, 5, True)
    assert ask(settings, "SELECT count(*) FROM bronze") == [(11,)]

    with killed("removed"):
        erase_account(run_of(spark, settings, killed_after="removed"), ACCOUNT)
    correct(run_of(spark, settings))  # finishes it
    assert read_state(settings).pending == ()
    assert ask(settings, "SELECT count(*) FROM bronze") == [(4,)]
    assert ask(settings, "SELECT DISTINCT account_id FROM silver") == [(OTHER,)]
    assert erase_account(run_of(spark, settings), ACCOUNT).correction_id is None

    # The streams go on; when they have, the older snapshots and their files are gone.
    for number in (20, 21, 22):
        send(settings, [purchase(settings, number, OTHER, at=start + timedelta(minutes=30 + number))])
        drain(spark, settings)
    for spec in (BRONZE, SILVER):
        assert expire_when_due(spark, settings, spec).expired > 0
    refresh_marts(settings, refreshed_at=datetime.now(UTC))
    export_gold(settings, now=datetime.now(UTC))
    assert files_that_match(settings, OTHER.encode()) != []  # the search finds what there is
    assert files_that_match(settings, ACCOUNT.encode() + b"(?!8)") == []

    # Gold keeps its sums, and everything is explained.
    assert ask(settings, revenue) == [(before[0][0] + 3 * 5 * Decimal("12.5000"), before[0][1] + 15)]
    assert sum(gap.records for gap in read_gaps(settings) if gap.kind == "erased") == 7
    results = checked(settings)
    assert [name for name, result in results.items() if result.blocking and not result.passed] == []
    rows = read_entries(settings, *Entry).to_pylist()
    assert {row["cause"] for row in rows} == {"erased"}
    assert {row["event_id"] for row in rows} == {None}
    amounts = [row for row in rows if row["entry"] == "amount"]
    assert [(row["from_net_amount"], row["from_orders"]) for row in amounts] == [(Decimal("62.5000"), 5)]
