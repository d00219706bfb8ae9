"""Poison in the real topic: each record in bronze with its reason, in the dead-letter topic as it came; nothing stops."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
from event_bytes import Record, event_id
from poison import YEAR_2099, Writer, poison
from pyspark.sql import SparkSession
from readers import assert_all_readers_agree
from stream_fixtures import ask, drain, received, send

from rtap_assets.config import Settings
from rtap_assets.contracts.text import is_text
from rtap_assets.registry.client import Registry
from rtap_assets.serving.marts import refresh_marts

HEADERS: list[tuple[str, bytes | None]] = [("trace", b"\x00\xff"), ("trace", None)]


def test_every_poison_record_is_quarantined_with_its_bytes_and_headers_and_the_streams_go_on(
    spark: SparkSession, streams: Settings
) -> None:
    v1_id, v2_id = Registry(streams).versions(streams.events_subject)
    writer = Writer(v1_id, v2_id, at=datetime.now(UTC))
    cases = poison(writer, unknown_id=v2_id + 10_000_000, max_event_bytes=streams.max_event_bytes)
    bad = [Record(record.value, record.key, headers=HEADERS) for _, record in cases.values()]
    send(streams, bad, claimed_ms=round(YEAR_2099.timestamp() * 1000))
    first = drain(spark, streams)
    assert (first["bronze"].input_rows, first["silver"].input_rows) == (len(bad), len(bad))
    assert ask(streams, "SELECT count(*) FROM silver") == ask(streams, "SELECT count(*) FROM gold") == [(0,)]

    # What is valid behind it passes, among it money that encoders write differently.
    awkward = {event_id(2): Decimal("0.0000"), event_id(3): Decimal("3.2768")}
    as_bytes = {event_id(2): b"", event_id(3): (32_768).to_bytes(12, "big")}
    valid = [writer.raw_v1(event_id=f"\t{name}\r\n", amount=amount, currency="EUR\t") for name, amount in as_bytes.items()]
    send(streams, [Record(value, key="\u00a0acct-1\ufeff".encode()) for value in valid])
    second = drain(spark, streams)
    assert [report.restarts for report in (*first.values(), *second.values())] == [()] * 8
    assert dict(ask(streams, "SELECT event_id, net_amount FROM silver")) == awkward
    assert ask(streams, "SELECT DISTINCT account_id, currency FROM silver") == [("acct-1", "EUR")]

    # Whatever was sent, every table answers, and in the same words; so do the marts.
    assert_all_readers_agree(spark, streams)
    reasons = dict(Counter(reason.value for reason, _ in cases.values()))
    assert refresh_marts(streams, refreshed_at=datetime.now(UTC)).rows["dlq_by_reason"] == len(reasons)
    with duckdb.connect(streams.marts_path, read_only=True) as marts:
        assert dict(marts.execute("SELECT reason, records FROM dlq_by_reason").fetchall()) == reasons

    sent = sorted((record.key or b"", record.value or b"", reason.value) for reason, record in cases.values())
    stored = ask(streams, "SELECT raw_key, raw_value, error_reason FROM bronze WHERE error_reason IS NOT NULL")
    assert sorted((key or b"", value or b"", reason) for key, value, reason in stored) == sent
    letters = received(streams, streams.topic_dlq)
    assert (
        sorted((one.key() or b"", one.value() or b"", dict(one.headers())["rtap.dlq.reason"].decode()) for one in letters)
        == sent
    )
    assert all(one.headers()[: len(HEADERS)] == HEADERS for one in letters)
    details = [dict(one.headers())["rtap.dlq.detail"].decode() for one in letters]
    assert [detail for detail in details if not is_text(detail)] == []
    assert sum(detail.startswith("product_id is not UTF-8 from byte 4 on: E9") for detail in details) == 1
    assert {one.value() is None for one in letters if dict(one.headers())["rtap.dlq.reason"] == b"tombstone"} == {True}
