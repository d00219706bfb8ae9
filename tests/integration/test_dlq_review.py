"""The review of the dead-letter topic: lag by reason past the group's offsets, and acknowledging it."""

from __future__ import annotations

from collections.abc import Iterable

from click.testing import CliRunner
from confluent_kafka import Producer

from rtap_assets.commands.dlq import group as command
from rtap_assets.config import Settings
from rtap_assets.kafka.clients import client_config
from rtap_assets.kafka.dlq_review import UNREADABLE, acknowledge, committed, dlq_lag

MESSAGE_SECONDS = 30


def quarantine(settings: Settings, reasons: Iterable[str]) -> None:
    """Dead records as the DLQ query writes them, with a header of the record's own that has our name."""
    producer = Producer(client_config(settings))
    for offset, reason in enumerate(reasons):
        ours = {"reason": reason, "detail": "why", "topic": "sales", "partition": "0", "offset": str(offset)}
        headers = [("rtap.dlq.reason", b"forged"), *((f"rtap.dlq.{name}", value.encode()) for name, value in ours.items())]
        producer.produce(settings.topic_dlq, b"value", str(offset).encode(), headers=headers)
    assert producer.flush(MESSAGE_SECONDS) == 0


def test_the_lag_counts_by_reason_what_nobody_has_acknowledged(settings: Settings) -> None:
    assert (dlq_lag(settings, limit=100).records, committed(settings)) == (0, {})
    quarantine(settings, ["bad_magic", "too_short", "bad_magic"])
    lag = dlq_lag(settings, limit=100)
    assert (lag.records, lag.read, lag.by_reason) == (3, 3, {"bad_magic": 2, "too_short": 1})
    records = [record for samples in lag.samples.values() for record in samples]
    assert lag.oldest == min(record.appended_at for record in records)
    assert [record.source.split("/")[0] for record in records] == ["sales"] * 3
    assert dlq_lag(settings, limit=100) == lag  # looking commits nothing

    assert acknowledge(settings) == 3
    assert acknowledge(settings) == 0
    assert dlq_lag(settings, limit=100).records == 0
    quarantine(settings, ["undecodable"])
    assert dlq_lag(settings, limit=100).by_reason == {"undecodable": 1}


def test_a_record_without_context_is_shown_all_the_same(settings: Settings) -> None:
    producer = Producer(client_config(settings))
    producer.produce(settings.topic_dlq, None, None)
    assert producer.flush(MESSAGE_SECONDS) == 0
    (record,) = dlq_lag(settings, limit=9).samples[UNREADABLE]
    assert (record.reason, record.source) == (UNREADABLE, "?/?/?")


def test_list_and_ack_on_the_command_line(settings: Settings) -> None:
    quarantine(settings, ["bad_magic"])
    shown = CliRunner().invoke(command.dlq, ["list"], obj=settings, catch_exceptions=False)
    assert "1 records not reviewed" in " ".join(shown.output.split())
    assert "no quarantined row is selected" in shown.output  # of bronze, which is not there yet
    assert "1 records acknowledged" in CliRunner().invoke(command.dlq, ["ack"], obj=settings).output
    assert "everything was reviewed" in " ".join(CliRunner().invoke(command.dlq, ["list"], obj=settings).output.split())
