"""Text, money and currencies, judged from decoded columns: what is trimmed, what is refused and with which words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from event_bytes import ACCOUNT, event_id
from judged import decoded_frame, decoded_row, judge_sales_events, judged
from pyspark.sql import SparkSession

from rtap_assets.contracts.rules import TEXT_FIELDS
from rtap_assets.contracts.tables import BRONZE

UUID = event_id(1)
# What surrounds a code: tab, line breaks, no-break and other spaces, byte order mark, zero width, NUL, direction mark.
AROUND = ("\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\ufeff", "\u200b", "\x00", "\u202e", " \t\u2028\u0085 ")
OK: tuple[str | None, str | None] = (None, None)


def odd_around(name: str, value: str) -> dict[str, Mapping[str, Any]]:
    """The value with each kind of white space behind, before and on both sides of it."""
    cases = {}
    for around in AROUND:
        for text in (value + around, around + value, around + value + around):
            key = {"raw_key": text.encode()} if name == "account_id" else {}
            cases[f"{name} {text!r}"] = decoded_row(**{name: text}, **key)
    return cases


TRIMMED_VALUES = {
    "event_id": UUID,
    "account_id": ACCOUNT,
    "product_id": "Größe 尺寸",
    "event_type": "refund",
    "plan_tier": "Professional",
    "region": "EUROPE",
    "currency": "eur",
    "promo_code": "SPRING",
    "sales_channel": "web",
}
TRIMMED = {case: row for name, value in TRIMMED_VALUES.items() for case, row in odd_around(name, value).items()}
TRIMMED |= {
    "the key alone": decoded_row(raw_key=f"\ufeff{ACCOUNT}\t".encode()),
    "the account alone": decoded_row(account_id=f" {ACCOUNT}\u200b"),
}

# Case -> changed columns, reason, detail.
NO_TEXT: dict[str, tuple[dict[str, Any], str]] = {
    "Latin-1": ({"product_id": b"caf\xe9"}, "product_id is not UTF-8 from byte 4 on: E9"),
    "Latin-1, trimmed": ({"product_id": b"\tcaf\xe9 "}, "product_id is not UTF-8 from byte 5 on: E920"),
    "Latin-1 in account and key": (
        {"account_id": b"Andr\xe9", "raw_key": b"Andr\xe9"},
        "account_id is not UTF-8 from byte 5 on: E9",
    ),
    "Latin-1 in the key": ({"raw_key": b"\xff\xfe\x00"}, "key is not UTF-8 from byte 1 on: FFFE00"),
    "Latin-1 in region": ({"region": b"\xe9mea"}, "region is not UTF-8 from byte 1 on: E96D6561"),
    "overlong": ({"promo_code": b"\xc0\x80"}, "promo_code is not UTF-8 from byte 1 on: C080"),
    "a surrogate in CESU-8": ({"region": b"\xed\xa0\xbd\xed\xb8\x80"}, "region is not UTF-8 from byte 1 on: EDA0BDED"),
    "beyond Unicode": ({"product_id": b"x\xf4\x90\x80\x80"}, "product_id is not UTF-8 from byte 2 on: F4908080"),
    "cut off": ({"currency": b"EUR\xe2\x82"}, "currency is not UTF-8 from byte 4 on: E282"),
    "every byte": ({"product_id": bytes(range(1, 256))}, "product_id is not UTF-8 from byte 128 on: 80818283"),
    "NUL within": ({"product_id": "a\x00b"}, "product_id has a control or format character within: 00"),
    "escape sequence": ({"product_id": "a\x1b[31mb"}, "product_id has a control or format character within: 1B"),
    "zero width within": ({"account_id": "ac\u200bct"}, "account_id has a control or format character within: E2808B"),
    "line separator within": ({"promo_code": "a\u2028b"}, "promo_code has a control or format character within: E280A8"),
    "direction mark within": ({"plan_tier": "p\u202ero"}, "plan_tier has a control or format character within: E280AE"),
    "tab within the key": ({"raw_key": b"a\tb"}, "key has a control or format character within: 09"),
}  # fmt: skip

OTHERS: dict[str, tuple[dict[str, Any], tuple[str | None, str | None]]] = {
    "as the contract asks": ({}, OK),
    "no channel": ({"sales_channel": None}, OK),
    "spaces within": ({"product_id": "Seat  Plus"}, OK),
    "U+FFFD itself is text": ({"product_id": "caf\ufffd"}, OK),
    "only white space": ({"product_id": "\u00a0\t\ufeff"}, ("missing_field", "product_id is empty")),
    "key of white space": ({"raw_key": b"\t "}, ("key_mismatch", f"key , account_id {ACCOUNT}")),
    "null region": ({"region": None}, ("missing_field", "region is null")),
    "null amount": ({"amount_bytes": None}, ("missing_field", "amount is null")),
    "null times": (
        {"event_time": None, "ingest_time": None},
        ("missing_field", "event_time is null, ingest_time is null"),
    ),
    "another key": ({"raw_key": b"acct-2"}, ("key_mismatch", f"key acct-2, account_id {ACCOUNT}")),
    "no UUID": ({"event_id": f"{UUID}0"}, ("invalid_event_id", f"{UUID}0")),
    "a line break within a UUID": (
        {"event_id": f"{UUID[:8]}\n{UUID[8:]}"},
        ("invalid_text", "event_id has a control or format character within: 0A"),
    ),
    "2099": ({"event_time": datetime(2099, 1, 1, tzinfo=UTC)}, ("event_time_in_future", "2099-01-01 00:00:00")),
    "Mars, at length": ({"region": "m" * 500}, ("unknown_region", "m" * 200)),
    "refund of -1": ({"event_type": "refund", "amount_bytes": b"\xd8\xf0"}, ("negative_amount", "-1.0000 EUR")),
    "decoding's finding": (
        {"decode_reason": "undecodable", "decode_detail": "19 \x1b bytes"},
        ("undecodable", "19 \ufffd bytes"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> dict[str, dict[str, Any]]:
    changed = {case: decoded_row(**changes) for case, (changes, _) in (NO_TEXT | OTHERS).items()}
    return judged(spark, TRIMMED | changed)


def test_white_space_of_any_kind_around_a_code_is_trimmed_and_the_row_is_valid(rows: dict[str, dict[str, Any]]) -> None:
    faults = {case: (rows[case]["error_reason"], rows[case]["error_detail"]) for case in TRIMMED}
    assert faults == dict.fromkeys(TRIMMED, OK)
    stored = {case: {name: rows[case][name] for name in TEXT_FIELDS} for case in TRIMMED}
    good = {name: value and value.decode() for name, value in decoded_row().items() if name in TEXT_FIELDS}
    expected = {case: good | {case.split()[0]: TRIMMED_VALUES[case.split()[0]]} for case in TRIMMED if "'" in case}
    assert stored == expected | {"the key alone": good, "the account alone": good}


def test_what_is_no_text_is_quarantined_with_field_and_bytes(rows: dict[str, dict[str, Any]]) -> None:
    found = {case: (rows[case]["error_reason"], rows[case]["error_detail"]) for case in NO_TEXT}
    assert found == {case: ("invalid_text", detail) for case, (_, detail) in NO_TEXT.items()}


def test_bronze_holds_text_and_the_bytes_that_came(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["Latin-1, trimmed"]["product_id"] == "caf\ufffd"
    assert rows["escape sequence"]["product_id"] == "a\ufffd[31mb"
    assert rows["Latin-1 in the key"]["raw_key"] == b"\xff\xfe\x00"
    assert {rows[case]["raw_value"] for case in rows} == {b"\x00"}


def test_the_other_rules_say_what_exactly_broke_them(rows: dict[str, dict[str, Any]]) -> None:
    found = {case: (rows[case]["error_reason"], rows[case]["error_detail"]) for case in OTHERS}
    assert found == {case: expected for case, (_, expected) in OTHERS.items()}


def test_the_rows_have_the_columns_of_bronze(spark: SparkSession) -> None:
    schema = judge_sales_events(decoded_frame(spark, [])).schema
    assert [(child.name, child.dataType.simpleString()) for child in schema] == [
        (column.name, column.type) for column in BRONZE.columns
    ]


def twos_complement(number: int, width: int | None = None) -> bytes:
    return number.to_bytes(width or (number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)


EXACT: dict[str, tuple[bytes, str]] = {
    "no bytes": (b"", "0.0000"),
    "zero": (b"\x00", "0.0000"),
    "zero in 20 bytes": (bytes(20), "0.0000"),
    "smallest": (b"\x01", "0.0001"),
    "0.0127, 0.0128": (b"\x7f", "0.0127"),
    "0.0128": (b"\x00\x80", "0.0128"),
    "12.5 in three bytes": (b"\x01\xe8\x48", "12.5000"),
    "12.5 in 16 bytes": (twos_complement(125_000, 16), "12.5000"),
    "3.2768": (twos_complement(32_768), "3.2768"),
    "largest": (twos_complement(10**18 - 1), "99999999999999.9999"),
    "largest in nine bytes": (twos_complement(10**18 - 1, 9), "99999999999999.9999"),
    "largest in 300 bytes": (twos_complement(10**18 - 1, 300), "99999999999999.9999"),
}
NEGATIVE: dict[str, tuple[bytes, str]] = {
    "3.2768 without a sign byte": (b"\x80\x00", "-3.2768 EUR"),
    "-0.0001": (b"\xff", "-0.0001 EUR"),
    "-0.0128 with a needless byte": (b"\xff\x80", "-0.0128 EUR"),
    "-12.5 in 17 bytes": (twos_complement(-125_000, 17), "-12.5000 EUR"),
    "least": (twos_complement(1 - 10**18), "-99999999999999.9999 EUR"),
    "least in 12 bytes": (twos_complement(1 - 10**18, 12), "-99999999999999.9999 EUR"),
}
OVERFLOWING = {
    "10^18": 10**18,
    "-10^18": -(10**18),
    "2^63 - 1": 2**63 - 1,
    "-2^63": -(2**63),
    "2^63": 2**63,
    "-2^63 - 1": -(2**63) - 1,
    "2^64": 2**64,
    "2^64 + 1": 2**64 + 1,
    "2^64 - 1, one byte of sign": 2**64 - 1,
    "-2^64 + 99": -(2**64) + 99,
    "2^130 + 1234500": 2**130 + 1_234_500,
    "2^200 + 1234500": 2**200 + 1_234_500,
    "-2^200 + 99": -(2**200) + 99,
    "2^(8*300)": 2**2400 + 1,
}


def test_an_amount_is_what_its_bytes_say_or_it_is_refused(spark: SparkSession) -> None:
    cases = {case: decoded_row(amount_bytes=sent) for case, (sent, _) in (EXACT | NEGATIVE).items()}
    cases |= {case: decoded_row(amount_bytes=twos_complement(number)) for case, number in OVERFLOWING.items()}
    cases["0x80 and zeros"] = decoded_row(amount_bytes=b"\x80" + bytes(15))
    found = judged(spark, cases)
    assert {case: (found[case]["error_reason"], found[case]["amount"]) for case in EXACT} == {
        case: (None, Decimal(amount)) for case, (_, amount) in EXACT.items()
    }
    assert {case: (found[case]["error_reason"], found[case]["error_detail"]) for case in NEGATIVE} == {
        case: ("negative_amount", detail) for case, (_, detail) in NEGATIVE.items()
    }
    refused = [*OVERFLOWING, "0x80 and zeros"]
    assert {case: (found[case]["error_reason"], found[case]["amount"]) for case in refused} == dict.fromkeys(
        refused, ("amount_overflow", None)
    )
    assert found["2^64"]["error_detail"] == "9 bytes: 010000000000000000"


@pytest.mark.parametrize("sign", [1, -1])
def test_random_amounts_of_every_width_are_exact(spark: SparkSession, sign: int) -> None:
    numbers = [sign * (10**digits // 7 * 3 + digits) for digits in range(1, 18)]
    cases = {
        f"{number} in {width}": decoded_row(amount_bytes=twos_complement(number, width))
        for number in numbers
        for width in {len(twos_complement(number)), 8, 9, 16}
    }
    found = judged(spark, cases)
    assert {case: row["amount"] for case, row in found.items()} == {
        case: Decimal(int(case.split()[0])).scaleb(-4) for case in cases
    }


def on(day: str, code: str) -> dict[str, Any]:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return decoded_row(currency=code, event_time=at, ingest_time=at, kafka_timestamp=at + timedelta(seconds=1))


CURRENCIES = {
    ("2026-03-01", "BGN"): "BGN withdrawn 2025-12-31",
    ("2025-12-31T23:59:59", "BGN"): None,
    ("2026-01-01", "bgn "): "BGN withdrawn 2025-12-31",
    ("2022-12-31", "HRK"): None,
    ("2023-01-01", "HRK"): "HRK withdrawn 2022-12-31",
    ("2025-03-30", "XCG"): "XCG in force from 2025-03-31",
    ("2025-03-31", "XCG"): None,
    ("2024-06-24", "ZWG"): "ZWG in force from 2024-06-25",
    ("2024-06-25", "ZWG"): None,
    ("2024-08-31", "ZWL"): None,
    ("2024-09-01", "ZWL"): "ZWL withdrawn 2024-08-31",
    ("2019-01-01", "EUR"): None,
    ("2019-01-01", "SLE"): "SLE in force from 2022-07-01",
    ("2019-01-01", "SLL"): None,
    ("2026-03-01", "XXX"): "XXX",
    ("2026-03-01", "btc\t"): "BTC",
    ("2026-03-01", "EURO"): "EURO",
} | {("2026-03-01", code): None for code in "CLF COU UYW CHE CHW XAU XDR MXV BOV VED VES USN".split()}


def test_a_currency_is_judged_by_iso_4217_at_the_event_time(spark: SparkSession) -> None:
    cases = {f"{day} {code}": on(day, code) for day, code in CURRENCIES}
    found = judged(spark, cases)
    assert {case: (row["error_reason"], row["error_detail"]) for case, row in found.items()} == {
        f"{day} {code}": OK if fault is None else ("unknown_currency", fault) for (day, code), fault in CURRENCIES.items()
    }
