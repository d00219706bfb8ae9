"""All four streams drained on generated trouble: exact against the ledger, at rest when nothing is new, and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import SparkSession
from stream_fixtures import ask, assert_newest_messages_are_gold, drain, received, send_events, snapshots

from rtap_assets.audit.report import Report
from rtap_assets.config import Settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.demo.proof import prove

TROUBLE: Mapping[str, Any] = {"events": 5_000, "duplicates": 0.05, "delayed": 0.02, "invalid": 0.03, "span_seconds": 3000}


def test_drains_reconcile_exactly_rest_when_nothing_is_new_and_go_on_where_they_stopped(
    spark: SparkSession, streams: Settings
) -> None:
    # Several batches of each stream: five of bronze, a file each; three of silver; two of gold.
    streams = streams.model_copy(update={"bronze_max_offsets_per_batch": 1_000, "source_max_files_per_batch": 2})
    send_events(streams, seed=1, reasons=tuple(Reason), **TROUBLE)
    first = drain(spark, streams)
    assert {name: report.restarts for name, report in first.items()} == dict.fromkeys(first, ())
    assert first["bronze"].input_rows == 5_000
    assert min(report.batches for report in first.values()) >= 2
    late = proof_of(streams).apart("late, awaiting correction")
    valid, unique = ask(streams, "SELECT count(*) FILTER (error_reason IS NULL), (SELECT count(*) FROM silver) FROM bronze")[
        0
    ]
    copies = valid - unique - late
    # Spark counts a late copy of an event that silver has among the dropped rows; to the ledger that is a duplicate.
    assert 0 < late <= first["silver"].dropped_late <= late + copies
    assert first["silver"].input_rows == first["dlq"].input_rows == 5_000
    assert_dead_letters_are_the_quarantined_rows(streams)
    assert_newest_messages_are_gold(streams)

    # Nothing is new: no batch, no snapshot, no message.
    before, letters = snapshots(streams), len(received(streams, streams.topic_dlq))
    again = drain(spark, streams)
    assert {name: (report.batches, report.input_rows) for name, report in again.items()} == dict.fromkeys(again, (0, 0))
    assert snapshots(streams) == before
    assert len(received(streams, streams.topic_dlq)) == letters

    # Restarted from its checkpoint, each reads what is new and nothing else; some of it repeats the earlier run.
    send_events(streams, seed=2, **TROUBLE | {"events": 1_500})
    rest = drain(spark, streams)
    assert rest["bronze"].input_rows == rest["silver"].input_rows == rest["dlq"].input_rows == 1_500
    assert rest["gold"].input_rows == ask(streams, "SELECT count(*) FROM silver")[0][0] - first["gold"].input_rows
    proof_of(streams)
    assert_dead_letters_are_the_quarantined_rows(streams)
    assert_newest_messages_are_gold(streams)


def proof_of(settings: Settings) -> Report:
    """The proof that every line holds: topic, ledger, lake and dead-letter topic agree, and what is late was late."""
    proof = prove(settings)
    assert proof.broken == set(), proof.damage
    assert proof.exit_code == 0, proof.incomplete
    return proof


def assert_dead_letters_are_the_quarantined_rows(settings: Settings) -> None:
    """By identity (a repeated letter is allowed), with reason, key and value as bronze has them."""
    rows = ask(
        settings,
        "SELECT topic, kafka_partition, kafka_offset, error_reason, raw_key, raw_value FROM bronze WHERE error_reason > ''",
    )
    wanted = {(row[0], str(row[1]), str(row[2])): row[3:] for row in rows}
    found = {}
    for letter in received(settings, settings.topic_dlq):
        said = {name: text.decode() for name, text in letter.headers() or () if name.startswith("rtap.dlq.")}
        identity = (said["rtap.dlq.topic"], said["rtap.dlq.partition"], said["rtap.dlq.offset"])
        found[identity] = (said["rtap.dlq.reason"], letter.key(), letter.value())
    assert found == wanted
    assert wanted
