"""The audit's own judgement: of poisonous records, of what encoders of five languages wrote, of schemas of other teams."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from event_bytes import ACCOUNT, APPENDED_AT, V1, V2, body, event, framed
from odd_schemas import ODD, OddSchema
from poison import Writer, poison
from recorded import recorded, schema_texts

from rtap_assets.audit.judging import Judge
from rtap_assets.audit.schemas import WriterSchemas
from rtap_assets.config import load_settings
from rtap_assets.contracts.avro.writer_schemas import RegisteredSchema
from rtap_assets.contracts.rules import DECODING_REASONS, Reason

SETTINGS = load_settings()
APPENDED_MS = round(APPENDED_AT.timestamp() * 1000)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNKNOWN_ID = 99
ACCOUNT_KEY = ACCOUNT.encode()
# Recognizing these is left to bronze; that such a value is not read is the same.
FOREIGN_FORMS = {Reason.BAD_MAGIC, Reason.UNSUPPORTED_FRAMING, Reason.NOT_AVRO}
POISON = poison(Writer(1, 2), unknown_id=UNKNOWN_ID, max_event_bytes=SETTINGS.max_event_bytes)


def judge_with(schemas: dict[str, str | RegisteredSchema]) -> Judge:
    found = {key: RegisteredSchema(one) if isinstance(one, str) else one for key, one in schemas.items()}
    return Judge(SETTINGS, WriterSchemas(SETTINGS, ask=found.get).of)


@pytest.mark.parametrize("case", POISON)
def test_a_poisonous_record_gets_its_reason(case: str) -> None:
    reason, record = POISON[case]
    headers = tuple(record.headers or ())
    verdict = judge_with({"1": V1, "2": V2}).judge(record.key, record.value, APPENDED_MS, headers).verdict
    if reason in FOREIGN_FORMS:
        assert verdict in DECODING_REASONS
    else:
        assert verdict == reason


def test_what_every_library_wrote_is_read_to_the_last_digit() -> None:
    id_of = {name: str(number) for number, name in enumerate(schema_texts(), start=1)}
    judge = judge_with({id_of[name]: text for name, text in schema_texts().items()})
    for record in recorded():
        value = framed(int(id_of[record.schema]), record.body)
        key = record.event["account_id"].encode()
        appended_ms = round(record.event["ingest_time"].timestamp() * 1000)
        judged = judge.judge(key, value, appended_ms)
        amount = record.event["amount"]
        assert judged.verdict not in DECODING_REASONS, record
        assert Decimal(judged.event["amount"]).scaleb(-4) == amount
        assert EPOCH + timedelta(milliseconds=judged.event["event_time"]) == record.event["event_time"]


@pytest.mark.parametrize("name", ODD)
def test_a_schema_of_another_team_is_read_or_refused_as_the_contract_says(name: str) -> None:
    odd: OddSchema = ODD[name]
    judge = judge_with({"7": RegisteredSchema(odd.text, odd.type)})
    judged = judge.judge(ACCOUNT_KEY, framed(7, odd.body), APPENDED_MS)
    refusals = {Reason.INCOMPATIBLE_SCHEMA, Reason.NOT_AVRO}
    assert (judged.verdict in refusals) == bool(odd.finding), judged


ID_HEADERS: dict[str, tuple[str, bytes]] = {
    "Confluent, id": ("__value_schema_id", b"\x00\x00\x00\x00\x01"),
    "Confluent, GUID": ("__value_schema_id", b"\x01" + bytes(range(16))),
    "Apicurio, content id": ("apicurio.value.contentId", (1).to_bytes(8, "big")),
    "Apicurio, global id": ("apicurio.value.globalId", (5).to_bytes(8, "big")),
}


@pytest.mark.parametrize("name", ID_HEADERS)
def test_an_id_in_a_header_names_the_schema_of_the_bare_body(name: str) -> None:
    judge = judge_with({"1": V1, "global:5": V1, f"guid:{bytes(range(16)).hex()}": V1})
    judged = judge.judge(ACCOUNT_KEY, body(event()), APPENDED_MS, (ID_HEADERS[name],))
    assert (judged.verdict, judged.event["amount"]) == (None, 125_000)


def test_an_id_of_eight_bytes_is_apicurios_global_one() -> None:
    value = b"\x00" + (5).to_bytes(8, "big") + body(event())
    assert judge_with({"global:5": V1}).judge(ACCOUNT_KEY, value, APPENDED_MS).verdict is None


def test_references_are_resolved() -> None:
    schema: dict[str, Any] = json.loads(V1)
    schema["fields"].append({"name": "more", "type": ["null", "team.Extra"], "default": None})
    extra = {"type": "record", "name": "Extra", "namespace": "team", "fields": [{"name": "note", "type": "string"}]}
    one = RegisteredSchema(json.dumps(schema), references={"team.Extra": json.dumps(extra)})
    value = framed(8, body(event()) + b"\x02\x04ok")
    assert judge_with({"8": one}).judge(ACCOUNT_KEY, value, APPENDED_MS).verdict is None
