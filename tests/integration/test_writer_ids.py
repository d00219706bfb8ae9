"""Schemas by id, as other teams register and write them, while bronze runs: each read or refused alone, no restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka.schema_registry.common._httpx_compat import httpx
from event_bytes import V1, V2, Record, body, event, event_id, framed, with_amount, with_field
from odd_schemas import ODD, OTHER_LANGUAGES, OddSchema
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import ask, drain, open_engine, running, send

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.writer_schemas import RegisteredSchema
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.errors import StreamError
from rtap_assets.lake.history.snapshots import table_state
from rtap_assets.registry.client import Registry
from rtap_assets.streaming.checkpoints.files import newest_committed
from rtap_assets.streaming.queries.definitions import BRONZE_STREAM
from rtap_assets.streaming.queries.explaining import explain_schema
from rtap_assets.streaming.queries.schema_findings import forget_judgments, read_judgments, write_judgments

SCHEMAS_AT_A_TIME = 8
ROUNDS = 12


def post(settings: Settings, subject: str, document: Mapping[str, Any]) -> int:
    """Register what no client of ours would, and return its id."""
    answer = httpx.post(f"{settings.schema_registry_url}/subjects/{subject}/versions", json=document, timeout=20)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["id"])


def starts(said: list[str]) -> int:
    return sum(line.startswith("bronze: started") for line in said)


def stored(settings: Settings) -> int:
    return table_state(settings, BRONZE).rows


def test_forty_odd_schemas_stop_nothing_and_each_is_read_or_refused_alone(spark: SparkSession, streams: Settings) -> None:
    settings = streams.model_copy(update={"trigger_bronze_seconds": 0.2, "event_time_past_seconds": 10**9})
    good_id = next(iter(Registry(settings).versions(settings.events_subject)))
    odd: dict[str, OddSchema] = ODD | OTHER_LANGUAGES
    ids: dict[str, int] = {}
    records: list[Record] = []
    with running(spark, settings, "bronze") as said:
        for number, (name, schema) in enumerate(odd.items(), start=1):
            ids[name] = post(
                settings,
                f"{settings.topic_events}-odd-{number}",
                {"schema": schema.text, **({} if schema.type == "AVRO" else {"schemaType": schema.type})},
            )
            good = Record(framed(good_id, body(event(datetime.now(UTC), event_id=event_id(number)))))
            records += [Record(framed(ids[name], schema.body)), good]
            if number % SCHEMAS_AT_A_TIME == 0 or number == len(odd):
                send(settings, records)
                records.clear()
                wait_until(
                    lambda seen=2 * number: stored(settings) == seen,
                    seconds=60,
                    what=lambda seen=2 * number: f"{seen} rows; {said}",
                )
    assert starts(said) == 1, said
    found = {
        row[0]: row[1:]
        for row in ask(
            settings,
            f"SELECT schema_id, event_id, amount::VARCHAR, region, error_reason, error_detail FROM bronze "
            f"WHERE schema_id <> {good_id}",
        )
    }
    expected_reason = {
        name: None if not schema.finding else "not_avro" if schema.type != "AVRO" else "incompatible_schema"
        for name, schema in odd.items()
    }
    assert {name: found[ids[name]][3] for name in odd} == expected_reason
    assert {found[ids[name]][:3] for name, reason in expected_reason.items() if reason is None} == {
        (event()["event_id"], "12.5000", "emea")
    }
    assert [name for name, schema in odd.items() if schema.finding and schema.finding not in found[ids[name]][4]] == []
    assert ask(settings, f"SELECT count(*), count(error_reason) FROM bronze WHERE schema_id = {good_id}") == [(len(odd), 0)]


TAX = {
    "type": "record",
    "name": "Tax",
    "namespace": "com.acme",
    "fields": [{"name": "rate", "type": "com.acme.Rate"}, {"name": "region", "type": "string"}],
}
RATE = {"type": "fixed", "name": "Rate", "namespace": "com.acme", "size": 4}


def with_tax(settings: Settings) -> tuple[int, bytes]:
    """Version 2 with a field whose type is under another subject, which refers to a third; and an event with it."""
    rate, tax = f"{settings.topic_events}-rate", f"{settings.topic_events}-tax"
    post(settings, rate, {"schema": json.dumps(RATE)})
    reference = {"name": "com.acme.Rate", "subject": rate, "version": 1}
    post(settings, tax, {"schema": json.dumps(TAX), "references": [reference]})
    schema = with_field(V2, "tax", "com.acme.Tax")
    schema_id = post(
        settings,
        settings.events_subject,
        {"schema": schema, "references": [{"name": "com.acme.Tax", "subject": tax, "version": 1}]},
    )
    whole = json.loads(schema)
    whole["fields"][-1]["type"] = ["null", TAX | {"fields": [{"name": "rate", "type": RATE}, TAX["fields"][1]]}]
    datum = event(datetime.now(UTC), event_id=event_id(1), tax={"rate": b"0.19", "region": "de"}, promo_code="X")
    return schema_id, framed(schema_id, body(datum, json.dumps(whole)))


def deleted(settings: Settings, subject: str) -> None:
    answer = httpx.delete(f"{settings.schema_registry_url}/subjects/{subject}", timeout=20)
    assert answer.status_code == 200, answer.text


def global_ids(settings: Settings, subject: str) -> list[int]:
    """The ids by which Apicurio's own API knows the subject's versions."""
    base = settings.schema_registry_url.partition("/apis/")[0]
    path = f"{base}/apis/registry/v3/groups/default/artifacts/{subject}/versions"
    return [one["globalId"] for one in httpx.get(path, timeout=20).json()["versions"]]


def test_an_id_is_found_under_any_subject_with_references_deleted_and_in_other_framings(
    spark: SparkSession, streams: Settings
) -> None:
    tax_id, tax_event = with_tax(streams)
    foreign, gone = f"com.acme.SalesEvent-{streams.topic_events}", f"{streams.topic_events}-gone"
    # A name in Avro may not begin with a digit, which a topic's random suffix may.
    namespace = f"com.acme.n{streams.topic_events.rpartition('.')[2]}"
    foreign_id = post(streams, foreign, {"schema": json.dumps(json.loads(V1) | {"namespace": namespace})})
    gone_id = post(streams, gone, {"schema": json.dumps(json.loads(V1) | {"doc": f"Gone with {gone}."})})
    deleted(streams, gone)
    (global_id,) = global_ids(streams, foreign)

    def plain(number: int) -> bytes:
        return body(event(datetime.now(UTC), event_id=event_id(number)))

    records = [
        Record(tax_event),
        Record(framed(foreign_id, plain(2))),
        Record(framed(gone_id, plain(3))),
        Record(b"\x00" + global_id.to_bytes(8, "big") + plain(4)),
        Record(plain(5), headers=[("apicurio.value.globalId", global_id.to_bytes(8, "big"))]),
        Record(plain(6), headers=[("apicurio.value.contentId", foreign_id.to_bytes(8, "big"))]),
        Record(plain(7), headers=[("__value_schema_id", b"\x00" + foreign_id.to_bytes(4, "big"))]),
        Record(plain(8), headers=[("__value_schema_id", b"\x01" + bytes(range(16)))]),
    ]
    send(streams, records)
    drain(spark, streams, "bronze")
    assert ask(streams, "SELECT event_id, schema_id, error_reason FROM bronze ORDER BY kafka_timestamp, kafka_offset") == [
        (event_id(1), tax_id, None),
        (event_id(2), foreign_id, None),
        (event_id(3), gone_id, None),
        (event_id(4), 0, None),
        (event_id(5), None, None),
        (event_id(6), foreign_id, None),
        (event_id(7), foreign_id, None),
        (None, None, "unsupported_framing"),
    ]
    explained = explain_schema(streams, tax_id)
    assert explained.is_read
    assert explained.lines[:3] == (
        f"schema id {tax_id}: AVRO, {streams.events_subject} version 3",
        "  refers to com.acme.Rate",
        "  refers to com.acme.Tax",
    )
    assert {"  event_id <- event_id", "  tax is skipped, the contract does not know it"} <= {*explained.lines}
    absent = explain_schema(streams, foreign_id).lines
    assert absent[0].startswith(f"schema id {foreign_id}: AVRO, {foreign} version 1")
    assert "  promo_code <- null, the schema does not have it" in absent
    cents_id = post(streams, f"{gone}-cents", {"schema": with_amount(V1, precision=18, scale=2)})
    cents = explain_schema(streams, cents_id)
    assert (cents.is_read, cents.lines[1]) == (False, "  quarantined as incompatible_schema")
    assert explain_schema(streams, cents_id + 10_000).lines[0] == f"schema id {cents_id + 10_000}: unknown_schema_id"


def test_a_flow_of_foreign_and_unknown_ids_restarts_nothing(spark: SparkSession, streams: Settings) -> None:
    settings = streams.model_copy(update={"trigger_bronze_seconds": 0.2})
    good_id = next(iter(Registry(settings).versions(settings.events_subject)))
    foreign = json.loads(V1) | {"namespace": f"com.acme.n{settings.topic_events.rpartition('.')[2]}"}
    foreign_id = post(settings, f"{foreign['namespace']}.SalesEvent", {"schema": json.dumps(foreign)})
    unknown = [foreign_id + 500, foreign_id + 501, 2**31 + 5, 2**32 - 1]
    reports: list[Mapping[str, Any]] = []
    with open_engine(spark, settings, say=(said := []).append, on_batch=reports.append) as engine:
        engine.submit("bronze", "start")
        for second in range(ROUNDS):
            now = datetime.now(UTC)
            records = [Record(framed(good_id, body(event(now, event_id=event_id(100 * second + n))))) for n in range(10)]
            records.append(Record(framed(foreign_id, body(event(now, event_id=event_id(100 * second + 50))))))
            records.append(Record(framed(unknown[second % 4], body(event(now)))))
            send(settings, records)
            wait_until(
                lambda seen=second: stored(settings) >= 12 * seen,
                seconds=60,
                what=lambda seen=second: f"second {seen}; {said}",
            )
        wait_until(lambda: stored(settings) == 12 * ROUNDS, seconds=60, what=lambda: f"all rows; {said}")
        wait_until(lambda: sum(counts(one)["records"] for one in reports) == 12 * ROUNDS, seconds=30, what="all reports")
    assert starts(said) == 1, said
    assert ask(settings, "SELECT error_reason, count(*), count(DISTINCT schema_id) FROM bronze GROUP BY 1 ORDER BY 1") == [
        ("unknown_schema_id", ROUNDS, 4),
        (None, 11 * ROUNDS, 2),
    ]
    assert sum(counts(one)["invalid"] for one in reports) == ROUNDS
    assert not any("starting again" in line for line in said), said


def counts(report: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = report["observedMetrics"]["bronze"]
    return found


def test_an_id_that_was_asked_for_in_vain_is_asked_for_again(spark: SparkSession, streams: Settings) -> None:
    first = post(
        streams, f"{streams.topic_events}-first", {"schema": json.dumps(json.loads(V1) | {"doc": streams.topic_events})}
    )
    next_id = first + 1
    good_id = next(iter(Registry(streams).versions(streams.events_subject)))
    settings = streams.model_copy(update={"trigger_bronze_seconds": 0.2})
    with running(spark, settings, "bronze") as said:
        send(settings, [Record(framed(next_id, body(event(datetime.now(UTC)))))])
        wait_until(lambda: stored(settings) == 1, seconds=60, what=lambda: f"the first record; {said}")
        schema = json.dumps(json.loads(V1) | {"doc": f"{streams.topic_events} again"})
        assert post(settings, f"{streams.topic_events}-second", {"schema": schema}) == next_id
        send(
            settings,
            [
                Record(framed(next_id, body(event(datetime.now(UTC))))),
                Record(framed(good_id, body(event(datetime.now(UTC))))),
            ],
        )
        wait_until(lambda: stored(settings) == 3, seconds=60, what=lambda: f"the others; {said}")
    assert ask(settings, f"SELECT error_reason FROM bronze WHERE schema_id = {next_id} ORDER BY kafka_timestamp") == [
        ("unknown_schema_id",),
        (None,),
    ]
    assert starts(said) == 1


def test_a_batch_whose_commit_spark_did_not_see_is_not_written_again(spark: SparkSession, streams: Settings) -> None:
    good_id = next(iter(Registry(streams).versions(streams.events_subject)))

    def good(number: int) -> Record:
        return Record(framed(good_id, body(event(datetime.now(UTC), event_id=event_id(number)))))

    send(streams, [good(1), good(2)])
    drain(spark, streams, "bronze")
    checkpoint = BRONZE_STREAM.checkpoint(streams)
    newest = newest_committed(checkpoint)
    for path in (checkpoint / "commits").glob(f"*{newest}*"):
        path.unlink()  # as if the process had died between Iceberg's commit and Spark's
    before = stored(streams)
    send(streams, [good(3)])
    drain(spark, streams, "bronze")
    assert (before, stored(streams)) == (2, 3)
    assert ask(streams, "SELECT event_id, error_reason FROM bronze ORDER BY 1") == [(event_id(n), None) for n in (1, 2, 3)]


def test_a_registry_that_gives_a_known_id_to_another_schema_is_refused_by_name(
    spark: SparkSession, streams: Settings
) -> None:
    good_id = next(iter(Registry(streams).versions(streams.events_subject)))
    send(streams, [Record(framed(good_id, body(event(datetime.now(UTC)))))])
    drain(spark, streams, "bronze")
    kept = read_judgments(streams)
    other = with_field(V2, "another", "int")
    write_judgments(streams, kept | {str(good_id): replace(kept[str(good_id)], schema=RegisteredSchema(other))})
    send(streams, [Record(framed(good_id, body(event(datetime.now(UTC)))))])
    with pytest.raises(StreamError, match=f"has another schema under id {good_id} than on ") as caught:
        drain(spark, streams, "bronze")
    assert "rtap contracts forget --all" in caught.value.remedy
    assert stored(streams) == 1
    assert forget_judgments(streams, None) == sorted(kept)
    drain(spark, streams, "bronze")
    assert stored(streams) == 2
