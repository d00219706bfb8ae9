"""Repairs of dead letters, byte by byte; the plan of a redrive; the selection's condition."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from event_bytes import APPENDED_AT, V1, V2, body, event, framed, varint

from rtap_assets.contracts import repairs as module
from rtap_assets.contracts.dead_letters import REDRIVE_ATTEMPT, REDRIVE_ORIGIN, DeadLetter, attempt_of, read_value
from rtap_assets.contracts.redrive_plan import Outcome, Tally, plan_redrive, with_verdicts
from rtap_assets.contracts.repairs import Repair, find_repair, load_repairs, repair
from rtap_assets.contracts.selection import Selection
from rtap_assets.errors import ConfigurationError, ContractError
from rtap_assets.kafka.redrives import Outgoing, ledger_key, redrive_headers
from rtap_assets.streaming.operations.redrive import RedriveRequest, new_run

SCHEMAS = {7: V1, 8: V2}


def record(value: bytes | None, *, key: bytes | None = b"acct-1", headers: Any = (), offset: int = 3) -> DeadLetter:
    return DeadLetter("sales", 1, offset, APPENDED_AT, 7, "null_key", "", key, value, tuple(headers))


def repaired(name: str, given: DeadLetter, **parameters: str) -> tuple[bytes | None, bytes | None]:
    found = find_repair(name, parameters)
    return found.function(given, SCHEMAS.get, parameters)


def v1(**changes: Any) -> bytes:
    return framed(7, body(event(**changes)))


def test_resend_changes_nothing() -> None:
    assert repaired("resend", record(b"\xff", key=None)) == (None, b"\xff")


def test_the_key_becomes_the_account() -> None:
    assert repaired("set-key-from-account-id", record(v1(account_id="acct-9"), key=None)) == (
        b"acct-9",
        v1(account_id="acct-9"),
    )
    with pytest.raises(ContractError, match="no account_id"):
        repaired("set-key-from-account-id", record(v1(account_id=" ")))
    with pytest.raises(ContractError, match=r"cannot be read to its end: field event_id, byte 5"):
        repaired("set-key-from-account-id", record(v1()[:20]))


def test_trailing_bytes_go() -> None:
    assert repaired("strip-trailing-bytes", record(v1() + b"\x00\x07")) == (b"acct-1", v1())
    with pytest.raises(ContractError, match="Nothing follows"):
        repaired("strip-trailing-bytes", record(v1()))


def test_text_is_trimmed_in_every_field_and_the_key() -> None:
    odd = {"currency": "EUR\t", "product_id": "\u00a0seat\u200b", "event_id": event()["event_id"] + "\n"}
    assert repaired("trim-text", record(v1(**odd), key=b" acct-1\r")) == (b"acct-1", v1())
    version2 = framed(8, body(event(schema_version=2, promo_code=" X ", sales_channel=None), V2))
    trimmed = framed(8, body(event(schema_version=2, promo_code="X", sales_channel=None), V2))
    assert repaired("trim-text", record(version2))[1] == trimmed
    latin = v1().replace(b"\x08seat", b"\x08 \xe9t ")
    assert repaired("trim-text", record(latin))[1] == latin


def test_a_text_is_replaced_in_its_field_alone() -> None:
    given = record(v1(currency="EURO", product_id="EURO"))
    assert repaired("replace-text", given, field="currency", **{"from": "EURO", "to": "EUR"})[1] == v1(product_id="EURO")
    assert repaired("replace-text", given, field="currency", **{"from": "euro", "to": "EUR"})[1] == given.value
    long = repaired("replace-text", given, field="currency", **{"from": "EURO", "to": "x" * 300})[1]
    assert long == v1(currency="x" * 300, product_id="EURO")


def test_latin_text_becomes_utf_8() -> None:
    latin = v1(product_id="abcd").replace(b"abcd", b"caf\xe9")
    assert repaired("recode-text", record(latin, key=b"acct-\xe9"), encoding="latin-1") == (
        "acct-é".encode(),
        v1(product_id="café"),
    )
    with pytest.raises(ContractError, match="no-such"):
        repaired("recode-text", record(latin), encoding="no-such")


@pytest.mark.parametrize("amount", ["-12.5000", "-3.2768", "-0.0128", "-99999999999999.9999", "0.0000", "7.0000"])
def test_the_sign_of_an_amount_goes(amount: str) -> None:
    positive = v1(amount=abs(Decimal(amount)))
    value = repaired("make-amount-positive", record(v1(amount=Decimal(amount))))[1]
    reading = read_value(value, SCHEMAS.get)
    assert reading is not None
    assert reading.findings == ()
    assert reading.find("amount").value == abs(Decimal(amount))  # type: ignore[union-attr]
    assert value == positive


def test_a_schema_id_is_replaced_or_put_in_front_when_the_body_fits() -> None:
    assert repaired("reframe-schema-id", record(framed(99, body(event()))), id="7")[1] == v1()
    assert repaired("add-header", record(body(event())), id="7")[1] == v1()
    with pytest.raises(ContractError, match="does not fit schema 8"):
        repaired("reframe-schema-id", record(v1()), id="8")
    with pytest.raises(ContractError, match="no schema 99"):
        repaired("add-header", record(body(event())), id="99")
    with pytest.raises(ConfigurationError, match="not a schema id"):
        repaired("add-header", record(body(event())), id="-1")


@pytest.mark.parametrize(
    "name", [name for name, found in load_repairs().items() if not found.parameters and name != "resend"]
)
@pytest.mark.parametrize(
    "value", [None, b"", b"\x00\x00\x00\x00\x07", framed(99, body(event())), b'{"a":1}', framed(7, varint(2**40))]
)
def test_what_cannot_be_read_is_refused_with_a_reason(name: str, value: bytes | None) -> None:
    with pytest.raises(ContractError):
        repaired(name, record(value))


def test_a_repair_needs_its_parameters_and_a_name_of_its_own() -> None:
    with pytest.raises(ConfigurationError, match="takes: -p id"):
        find_repair("add-header", {})
    with pytest.raises(ConfigurationError, match=r"no repair nothing\. Known are: add-header"):
        find_repair("nothing", {})
    with pytest.raises(ConfigurationError, match="Two repairs"):
        repair("resend")(lambda given, schema_of, parameters: (None, None))
    with pytest.raises(ConfigurationError, match="no_such_module"):
        load_repairs(["no_such_module"])
    assert all(found.doc.endswith((".", ";")) for found in load_repairs().values())


def test_a_project_brings_repairs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPAIRS", dict(module._REPAIRS))
    own = ModuleType("acme_repairs")

    def drop_key(given: DeadLetter, schema_of: object, parameters: object) -> tuple[None, bytes | None]:
        """Drop the key."""
        return None, given.value

    repair("acme-drop-key")(drop_key)
    monkeypatch.setitem(sys.modules, "acme_repairs", own)
    assert find_repair("acme-drop-key", {}, modules=["acme_repairs"]).doc == "Drop the key."


def test_the_plan_sends_each_record_parks_it_or_reports_why_not() -> None:
    again = [(REDRIVE_ATTEMPT, b"2"), (REDRIVE_ORIGIN, b"sales/0/1")]
    records = [
        record(v1(), key=None, offset=1),
        record(v1(), offset=2, headers=again),
        record(v1()[:9], offset=3),
        record(v1(), offset=4),
    ]
    found = find_repair("set-key-from-account-id", {})
    plan = list(
        plan_redrive(records, found, {}, schema_of=SCHEMAS.get, was_sent=lambda one: one.kafka_offset == 4, max_attempts=2)
    )
    assert [one.outcome for one in plan] == [Outcome.SEND, Outcome.PARK, Outcome.NOT_REPAIRABLE, Outcome.SENT_BEFORE]
    judged = with_verdicts(plan, ["unknown_region"])
    assert [(one.outcome, one.detail) for one in judged[:1]] == [(Outcome.STILL_INVALID, "unknown_region")]
    assert with_verdicts(plan, [None]) == plan
    tally = Tally(samples_kept=1)
    tally.add(judged)
    tally.add(judged)
    assert tally.of(Outcome.PARK) == 2
    assert len(tally.samples[Outcome.PARK]) == 1


def test_headers_name_origin_and_attempt_and_carry_what_is_allowed() -> None:
    headers = [("traceparent", b"t"), ("secret", b"s"), (REDRIVE_ATTEMPT, b"1"), (REDRIVE_ORIGIN, b"sales/0/1")]
    given = record(v1(), headers=headers)
    run = new_run(RedriveRequest("resend", Selection(), {}, 1, 3))
    sent = redrive_headers(Outgoing(given, b"k", b"v"), run, kept=["traceparent"])
    assert sent == [
        ("traceparent", b"t"),
        ("rtap.redrive.origin", b"sales/0/1"),
        ("rtap.redrive.attempt", b"2"),
        ("rtap.redrive.repair", b"resend"),
        ("rtap.redrive.run", run.id.encode()),
    ]
    parked = dict(redrive_headers(Outgoing(given, b"k", b"v", is_parked=True), run, kept=[]))
    assert (parked["secret"], parked["rtap.redrive.attempt"], parked["rtap.redrive.reason"]) == (b"s", b"1", b"null_key")
    assert ledger_key(given) == "record/sales/1/3/2026-03-01T12:00:00.250+00:00"
    assert given.origin == "sales/0/1"
    assert record(None).origin == "sales/1/3"


@pytest.mark.parametrize("text, attempt", [(b"3", 3), (b"99999", 0), (b"-1", 0), (b"", 0), (None, 0), ("٣".encode(), 0)])
def test_an_attempt_that_is_no_small_number_counts_as_none(text: bytes | None, attempt: int) -> None:
    assert attempt_of(((REDRIVE_ATTEMPT, text),)) == attempt


def test_a_selection_is_a_condition_and_survives_json() -> None:
    assert Selection().where() == "error_reason IS NOT NULL"
    chosen = Selection(
        reasons=("null_key", "bad_magic"),
        schema_ids=(7,),
        since=datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1))),
        until=datetime(2026, 3, 2, tzinfo=UTC),
        key="a'; DROP",
        partition=1,
        offset_from=5,
        offset_to=9,
        limit=3,
    )
    assert chosen.where() == (
        "error_reason IS NOT NULL AND error_reason IN ('null_key', 'bad_magic') AND schema_id IN (7) AND "
        "kafka_timestamp >= CAST('2026-03-01 12:00:00.000000' AS TIMESTAMP) AND "
        "kafka_timestamp < CAST('2026-03-02 00:00:00.000000' AS TIMESTAMP) AND "
        "hex(raw_key) = '61273B2044524F50' AND kafka_partition = 1 AND kafka_offset >= 5 AND kafka_offset <= 9"
    )
    assert Selection.from_json(chosen.to_json()) == chosen
    assert Selection.from_json({}) == Selection()


@pytest.mark.parametrize(
    "document", [{"reasons": ["nothing"]}, {"other": 1}, {"partition": "x"}, {"since": "2026-01-01"}, {"offset_from": 3}]
)
def test_a_selection_that_means_nothing_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Selection.from_json(document)


def test_an_amount_in_a_fixed_keeps_its_width() -> None:
    schema = json.loads(V1)
    for child in schema["fields"]:
        if child["name"] == "amount":
            child["type"] = {
                "type": "fixed",
                "name": "Amount",
                "size": 4,
                "logicalType": "decimal",
                "precision": 9,
                "scale": 4,
            }
    text = json.dumps(schema)
    fixed = framed(9, body(event(amount=Decimal("-12.5000")), text))
    found: Repair = find_repair("make-amount-positive", {})
    assert found.function(record(fixed), {9: text}.get, {})[1] == framed(9, body(event(), text))
