"""Dead letters looked at, repaired and sent again: each identity once, whatever is killed, and exact in silver."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Message
from event_bytes import Record, body, event, event_id, framed
from pyspark.sql import SparkSession
from stream_fixtures import ask, drain, send
from transactional import wait_until_ended

from rtap_assets.commands.dlq import group as dlq
from rtap_assets.config import Settings
from rtap_assets.contracts.redrive_plan import Outcome
from rtap_assets.contracts.selection import Selection
from rtap_assets.errors import StreamError
from rtap_assets.kafka.bounded_read import read_after
from rtap_assets.kafka.redrives import open_redriver, runs
from rtap_assets.kafka.transactions import TransactionalProducer
from rtap_assets.registry.client import Registry
from rtap_assets.runtime.terminal import text_width
from rtap_assets.serving.dead_letters import count_dead_letters, read_dead_letters
from rtap_assets.streaming.operations.record_judge import verdicts
from rtap_assets.streaming.operations.redrive import RedriveReport, RedriveRequest, redrive

HOSTILE = "\x1b[2J\u202eseat"
BY_REASON = "SELECT error_reason, count(*) FROM bronze WHERE error_reason IS NOT NULL GROUP BY 1"
SILVER = "SELECT count(*), count(DISTINCT event_id), coalesce(sum(net_amount), 0) FROM silver"


class Killed(BaseException):
    """The process is gone."""


def committed(settings: Settings, topic: str) -> list[Message]:
    """What a committed reader gets of the topic."""
    return read_after(settings, topic, after={}, limit=10_000)[0]


def origins(settings: Settings) -> Counter[str]:
    found = [
        dict(message.headers() or []).get("rtap.redrive.origin") for message in committed(settings, settings.topic_events)
    ]
    return Counter(origin.decode() for origin in found if origin)


@pytest.fixture
def redriven(streams: Settings) -> Settings:
    suffix = streams.topic_events.rpartition(".")[2]
    return streams.model_copy(update={"topic_parked": f"parked.{suffix}", "topic_redrives": f"redrives.{suffix}"})


def test_letters_are_shown_repaired_sent_once_and_parked(
    spark: SparkSession, redriven: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = redriven
    now = datetime.now(UTC).replace(microsecond=0)
    (v1, *_) = Registry(settings).versions(settings.events_subject)

    def good(number: int, **changes: Any) -> bytes:
        return framed(v1, body(event(now, event_id=event_id(number), **changes)))

    records = [Record(good(n), headers=[("traceparent", b"t"), ("secret", b"s")], key=None) for n in range(1, 6)]
    records += [Record(good(6) + b"\x01\x02"), Record(good(7, currency="EURO")), Record(good(8))]
    records += [Record(good(9, account_id="  ", product_id=HOSTILE), key=None), Record(b"\x00\x00\x00", key=b"odd")]
    records += [Record(good(10, region="caf\u00e9").replace(b"caf\xc3\xa9", b"cafe\xe9"))]
    send(settings, records)
    drain(spark, settings, "bronze", "dlq", "silver")
    before = dict(ask(settings, BY_REASON))
    assert before.pop("null_key") == 6
    assert before["trailing_bytes"] == before["unknown_currency"] == before["too_short"] == 1
    assert ask(settings, SILVER)[0][0] == 1

    # Look: by reason, and each letter with the field and byte that failed.
    listed = CliRunner().invoke(dlq.dlq, ["list"], obj=settings, catch_exceptions=False).output
    assert "10 quarantined rows" in listed
    assert "10 records not reviewed" in " ".join(listed.split())
    assert max(len(line) for line in listed.splitlines()) <= text_width()
    shown = CliRunner().invoke(dlq.dlq, ["show", "--limit", "0"], obj=settings, catch_exceptions=False).output
    assert shown.isprintable() or "\x1b" not in shown
    assert "\\x1b[2J\\u202eseat" in shown
    assert "2 bytes follow the end of the event (trailing_bytes)" in shown
    assert "currency = EURO" in shown
    assert "header secret: s" in shown
    (group,) = count_dead_letters(settings, Selection(reasons=("too_short",), key="odd"), period="hour")
    assert (group.records, group.schema_id, group.redriven) == (1, None, 0)
    (letter,) = read_dead_letters(settings, Selection(reasons=("trailing_bytes",)))
    one = CliRunner().invoke(dlq.dlq, ["show", f"{letter.kafka_partition}/{letter.kafka_offset}"], obj=settings).output
    assert one.startswith(letter.identity)

    judged: list[int] = []

    def judge(sent: Any) -> list[str | None]:
        judged.append(len(sent))
        return verdicts(spark, settings, sent, at=datetime.now(UTC))

    def run(repair: str, *, kill_after: int = 0, max_attempts: int = 3, dry: bool = False, **asked: Any) -> RedriveReport:
        parameters = {name.rstrip("_"): asked.pop(name) for name in ("field", "from_", "to") if name in asked}
        send_invalid = asked.pop("send_invalid", False)
        request = RedriveRequest(repair, Selection(**asked), parameters, 2, max_attempts, send_invalid)
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == kill_after:
                raise Killed

        records = list(read_dead_letters(settings, request.selection))
        if dry:
            return redrive(settings, records, request, judge=judge, redriver=None)
        with open_redriver(settings, pause=pause) as redriver:
            report = redrive(settings, records, request, judge=judge, redriver=redriver)
        assert all(0 <= seconds <= 1 for seconds in pauses)  # two a second
        wait_until_ended(settings)
        return report

    # The dry run sends nothing, and knows what would still be invalid.
    nulls = {"reasons": ("null_key",)}
    planned = run("set-key-from-account-id", dry=True, **nulls).tally
    assert {outcome.value: planned.of(outcome) for outcome in (Outcome.SEND, Outcome.NOT_REPAIRABLE)} == {
        "send": 5,
        "not repairable": 1,
    }
    assert run("resend", dry=True, **nulls).tally.counts == {("null_key", Outcome.STILL_INVALID, "null_key"): 6}
    assert origins(settings) == {}

    # Killed after the first transaction, then inside the second: half of it is seen by nobody.
    with pytest.raises(Killed):
        run("set-key-from-account-id", kill_after=1, **nulls)
    wait_until_ended(settings)
    assert len(origins(settings)) == 2
    produce = TransactionalProducer.produce
    calls: list[str] = []

    def produce_then_die(self: TransactionalProducer, topic: str, *rest: Any, **more: Any) -> None:
        calls.append(topic)
        if calls.count(settings.topic_events) == 2:
            self._producer.flush(10)
            raise Killed
        produce(self, topic, *rest, **more)

    with monkeypatch.context() as broken:
        broken.setattr(TransactionalProducer, "produce", produce_then_die)
        with pytest.raises(Killed):
            run("set-key-from-account-id", **nulls)
    assert len(origins(settings)) == 2
    done = run("set-key-from-account-id", **nulls)
    assert (done.tally.of(Outcome.SENT_BEFORE), done.tally.of(Outcome.SEND)) == (2, 3)
    again = run("set-key-from-account-id", **nulls)
    assert (again.tally.of(Outcome.SENT_BEFORE), again.tally.of(Outcome.SEND)) == (5, 0)
    assert set(origins(settings).values()) == {1}
    sent = [
        message
        for message in committed(settings, settings.topic_events)
        if dict(message.headers() or []).get("rtap.redrive.run")
    ]
    assert {message.key() for message in sent} == {b"acct-1"}
    assert next(name for name, _ in sent[0].headers() or []) == "traceparent"
    assert "secret" not in dict(sent[0].headers() or [])

    run("strip-trailing-bytes", reasons=("trailing_bytes",))
    run("replace-text", field="currency", from_="EURO", to="EUR", reasons=("unknown_currency",))
    drain(spark, settings)
    assert ask(settings, SILVER) == [(8, 8, Decimal("100.0000"))]

    # What is never valid counts its attempts, and is parked in the end.
    short = {"reasons": ("too_short",), "send_invalid": True, "max_attempts": 2}
    for attempt in (1, 2):
        assert run("resend", **short).tally.of(Outcome.SEND) == 1
        drain(spark, settings, "bronze", "dlq")
        newest = max(committed(settings, settings.topic_dlq), key=lambda message: message.timestamp()[1])
        assert dict(newest.headers() or [])["rtap.dlq.attempts"] == str(attempt + 1).encode()
    assert run("resend", **short).tally.of(Outcome.PARK) == 1
    assert run("resend", **short).tally.of(Outcome.PARK) == 0
    (parked,) = committed(settings, settings.topic_parked)
    assert parked.value() == b"\x00\x00\x00"
    assert dict(parked.headers() or [])["rtap.redrive.attempt"] == b"2"
    assert max(origins(settings).values()) == 2  # of the one that was sent twice
    assert ask(settings, SILVER) == [(8, 8, Decimal("100.0000"))]
    (group,) = count_dead_letters(settings, Selection(reasons=("too_short",), since=now - timedelta(days=2)))
    assert (group.records, group.redriven) == (3, 2)

    # The audit: who, when, what. Only one redrive at a time.
    found = runs(settings)
    assert [(one.repair, one.sent, one.parked) for one in found] == [
        ("resend", 0, 1),
        ("resend", 1, 0),
        ("resend", 1, 0),
        ("replace-text", 1, 0),
        ("strip-trailing-bytes", 1, 0),
        ("set-key-from-account-id", 3, 0),
        ("set-key-from-account-id", 2, 0),
    ]
    audit = CliRunner().invoke(dlq.dlq, ["redrives"], obj=settings, catch_exceptions=False).output
    assert found[0].id in audit
    with open_redriver(settings) as first, open_redriver(settings):
        request = RedriveRequest("resend", Selection(), {}, 100, 3)
        records = list(read_dead_letters(settings, Selection(reasons=("unknown_region", "null_key"))))
        with pytest.raises(StreamError, match="taken over"):
            redrive(settings, records, request, judge=None, redriver=first)
    assert runs(settings) == found
