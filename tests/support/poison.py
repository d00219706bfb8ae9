"""Records that must stop nothing, in the bytes that a careless or hostile producer would send, with the reasons they get."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from event_bytes import APPENDED_AT, V1, V2, Record, body, event, framed, plain, varint, with_amount

from rtap_assets.contracts.rules import Reason

YEAR_2099 = datetime(2099, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WIDE = with_amount(V1, precision=60, scale=4)
GLUE_VERSION = bytes.fromhex("b7b4a7f09c964e4aa6871a4d7e0b6a5c")  # a UUID of version 4


@dataclass(frozen=True)
class Writer:
    """A producer that knows the ids of versions 1 and 2 and what time it is."""

    v1_id: int
    v2_id: int
    at: datetime = APPENDED_AT

    def v1(self, **changes: Any) -> bytes:
        return framed(self.v1_id, body(event(self.at, **changes)))

    def v2(self, **changes: Any) -> bytes:
        optional = {"promo_code": None, "sales_channel": "web"}
        return framed(self.v2_id, body(event(self.at, **({"schema_version": 2} | optional | changes)), V2))

    def raw_v1(self, **changes: Any) -> bytes:
        """Return version 1 with times as milliseconds, amount and text as bytes, so that anything can be written."""
        return framed(self.v1_id, body(self._raw(**changes), plain(V1)))

    def raw_v2(self, **changes: Any) -> bytes:
        """Return version 2, like `raw_v1`."""
        optional = {"schema_version": 2, "promo_code": None, "sales_channel": "web"}
        return framed(self.v2_id, body(self._raw(**(optional | changes)), plain(V2)))

    def _raw(self, **changes: Any) -> dict[str, Any]:
        now = round(self.at.timestamp() * 1000)
        whole = event(self.at, event_time=now, ingest_time=now, amount=b"\x01\xe8\x48") | changes
        return {name: value.encode() if isinstance(value, str) else value for name, value in whole.items()}

    def claims_string_of(self, length: int) -> bytes:
        """Return a body of a few bytes whose first string claims `length` of them."""
        return framed(self.v1_id, varint(length) + b"abc")


def poison(writer: Writer, *, unknown_id: int, max_event_bytes: int) -> dict[str, tuple[Reason, Record]]:
    """Return, by case, the reason that it must get, and the record."""
    return {
        "tombstone": (Reason.TOMBSTONE, Record(None)),
        "tombstone without a key": (Reason.TOMBSTONE, Record(None, key=None)),
        "empty": (Reason.TOO_SHORT, Record(b"")),
        "magic byte and three more": (Reason.TOO_SHORT, Record(b"\x00\x00\x00\x00")),
        "a byte larger than allowed": (Reason.OVERSIZED, Record(padded(writer, max_event_bytes + 1))),
        "large and random": (Reason.OVERSIZED, Record(b"\xa5" * 1_000_000)),
        "JSON": (Reason.NOT_AVRO, Record(json.dumps({"event_id": "x"}).encode())),
        "JSON with a byte order mark": (Reason.NOT_AVRO, Record(b"\xef\xbb\xbf [\n{}]")),
        "JSON behind a schema id": (Reason.NOT_AVRO, Record(framed(writer.v1_id, b'{"event_id": "x"}'))),
        "XML": (Reason.NOT_AVRO, Record(b"<?xml version='1.0'?><event/>")),
        "Protobuf": (Reason.NOT_AVRO, Record(b"\x0a\x24" + str(event(writer.at)["event_id"]).encode() + b"\x10\x01")),
        "a Java object": (Reason.NOT_AVRO, Record(b"\xac\xed\x00\x05sr\x00\x03x")),
        "MessagePack": (Reason.NOT_AVRO, Record(b"\x8e\xa8event_id\xd9\x24x")),
        "Glue": (Reason.UNSUPPORTED_FRAMING, Record(b"\x03\x00" + GLUE_VERSION + body(event(writer.at)))),
        "Glue, compressed": (Reason.UNSUPPORTED_FRAMING, Record(b"\x03\x05" + GLUE_VERSION + b"\x78\x9c\x00")),
        "Avro single object": (Reason.UNSUPPORTED_FRAMING, Record(b"\xc3\x01" + bytes(range(8)) + body(event(writer.at)))),
        "an Avro file": (Reason.UNSUPPORTED_FRAMING, Record(b"Obj\x01\x04\x14avro.codec")),
        "Azure": (
            Reason.UNSUPPORTED_FRAMING,
            Record(b"\x00\x00\x00\x00" + b"0123456789abcdef" * 2 + body(event(writer.at))),
        ),
        "Azure's content type": (
            Reason.UNSUPPORTED_FRAMING,
            Record(body(event(writer.at)), headers=[("content-type", b"avro/binary+0123456789abcdef0123456789abcdef")]),
        ),
        "Hortonworks": (Reason.UNSUPPORTED_FRAMING, Record(b"\x01" + bytes(7) + b"\x05" + bytes(3) + b"\x01" + b"x" * 9)),
        "a bare body": (Reason.UNSUPPORTED_FRAMING, Record(body(event(writer.at)))),
        "an artifact's name": (
            Reason.UNSUPPORTED_FRAMING,
            Record(body(event(writer.at)), headers=[("apicurio.value.artifactId", b"sales")]),
        ),
        "a schema id of two bytes in a header": (
            Reason.UNSUPPORTED_FRAMING,
            Record(body(event(writer.at)), headers=[("__value_schema_id", b"\x00\x01")]),
        ),
        "random, no magic byte": (Reason.BAD_MAGIC, Record(b"\xb7\x1f\x93\x66\xe1\x0a\x58\xc4" * 10)),
        "magic byte 1": (Reason.BAD_MAGIC, Record(b"\x01" + writer.v1()[1:])),
        "id 0": (Reason.UNKNOWN_SCHEMA_ID, Record(framed(0, body(event(writer.at))))),
        "an id of nobody": (Reason.UNKNOWN_SCHEMA_ID, Record(framed(unknown_id, body(event(writer.at))))),
        "the largest id, unsigned": (Reason.UNKNOWN_SCHEMA_ID, Record(framed(2**32 - 1, body(event(writer.at))))),
        "19 digits": (Reason.AMOUNT_OVERFLOW, Record(writer.raw_v1(amount=(10**18).to_bytes(8, "big")))),
        "19 digits below zero": (
            Reason.AMOUNT_OVERFLOW,
            Record(writer.raw_v1(amount=(-(10**18)).to_bytes(8, "big", signed=True))),
        ),
        "2^64, of which the lowest 64 bits are 0": (
            Reason.AMOUNT_OVERFLOW,
            Record(writer.raw_v1(amount=(2**64).to_bytes(9, "big"))),
        ),
        "38 digits": (Reason.AMOUNT_OVERFLOW, Record(wide(writer, "9" * 34 + ".9999"))),
        "39 digits": (Reason.AMOUNT_OVERFLOW, Record(wide(writer, "9" * 35 + ".9999"))),
        "2^200 + 1234500": (Reason.AMOUNT_OVERFLOW, Record(writer.raw_v1(amount=(2**200 + 1_234_500).to_bytes(26, "big")))),
        "2^130 + 1234500": (Reason.AMOUNT_OVERFLOW, Record(writer.raw_v1(amount=(2**130 + 1_234_500).to_bytes(17, "big")))),
        "-2^200 + 99": (
            Reason.AMOUNT_OVERFLOW,
            Record(writer.raw_v1(amount=(99 - 2**200).to_bytes(26, "big", signed=True))),
        ),
        "no body": (Reason.UNDECODABLE, Record(framed(writer.v1_id, b""))),
        "truncated by one byte": (Reason.UNDECODABLE, Record(writer.v1()[:-1])),
        "truncated in the id": (Reason.UNDECODABLE, Record(writer.v1()[:20])),
        "random": (Reason.UNDECODABLE, Record(framed(writer.v1_id, b"\xb7\x1f\x93\x66\xe1\x0a\x58\xc4" * 10))),
        "claims 200 MB": (Reason.UNDECODABLE, Record(writer.claims_string_of(200_000_000))),
        "claims 1.5 GB": (Reason.UNDECODABLE, Record(writer.claims_string_of(1_500_000_000))),
        "claims 2^31-1000": (Reason.UNDECODABLE, Record(writer.claims_string_of(2**31 - 1000))),
        "claims 2^62": (Reason.UNDECODABLE, Record(writer.claims_string_of(2**62))),
        "version 1's body under version 2's id": (
            Reason.UNDECODABLE,
            Record(framed(writer.v2_id, body(event(writer.at)))),
        ),
        "an instant that overflows": (Reason.UNDECODABLE, Record(writer.raw_v1(event_time=2**63 - 1))),
        "one byte more": (Reason.TRAILING_BYTES, Record(writer.v1() + b"\x00")),
        "two events": (Reason.TRAILING_BYTES, Record(writer.v1() + body(event(writer.at)))),
        "version 2's body under version 1's id": (Reason.TRAILING_BYTES, Record(framed(writer.v1_id, writer.v2()[5:]))),
        "no key": (Reason.NULL_KEY, Record(writer.v1(), key=None)),
        "no event_id": (Reason.MISSING_FIELD, Record(writer.v1(event_id=""))),
        "blank product_id": (Reason.MISSING_FIELD, Record(writer.v1(product_id="  "))),
        "blank account_id": (Reason.MISSING_FIELD, Record(writer.v1(account_id=" "), key=b" ")),
        "another account's key": (Reason.KEY_MISMATCH, Record(writer.v1(), key=b"acct-2")),
        "a key of random bytes": (Reason.INVALID_TEXT, Record(writer.v1(), key=b"\xff\xfe\x00")),
        "Latin-1": (Reason.INVALID_TEXT, Record(writer.raw_v1(product_id=b"caf\xe9"))),
        "Latin-1 in account and key": (Reason.INVALID_TEXT, Record(writer.raw_v1(account_id=b"Andr\xe9"), key=b"Andr\xe9")),
        "overlong UTF-8": (Reason.INVALID_TEXT, Record(writer.raw_v1(region=b"em\xc1\xa5a"))),
        "surrogates in CESU-8": (Reason.INVALID_TEXT, Record(writer.raw_v1(product_id=b"\xed\xa0\xbd\xed\xb8\x80"))),
        "NUL within": (Reason.INVALID_TEXT, Record(writer.v1(product_id="a\x00b"))),
        "an escape sequence": (Reason.INVALID_TEXT, Record(writer.v1(product_id="red\x1b[31m"))),
        "bytes in a promo code": (Reason.INVALID_TEXT, Record(writer.raw_v2(promo_code=bytes(range(128, 256))))),
        "an order number": (Reason.INVALID_EVENT_ID, Record(writer.v1(event_id="order-17"))),
        "2099": (Reason.EVENT_TIME_IN_FUTURE, Record(writer.v1(event_time=YEAR_2099))),
        "the year 198000": (Reason.EVENT_TIME_IN_FUTURE, Record(writer.raw_v1(event_time=6_200_000_000_000_000))),
        "1970": (Reason.EVENT_TIME_TOO_OLD, Record(writer.v1(event_time=EPOCH))),
        "198000 years ago": (Reason.EVENT_TIME_TOO_OLD, Record(writer.raw_v1(event_time=-6_200_000_000_000_000))),
        "taken in in 2099": (Reason.IMPLAUSIBLE_INGEST_TIME, Record(writer.v1(ingest_time=YEAR_2099))),
        "taken in in 1970": (Reason.IMPLAUSIBLE_INGEST_TIME, Record(writer.v1(ingest_time=EPOCH))),
        "giveaway": (Reason.UNKNOWN_EVENT_TYPE, Record(writer.v1(event_type="giveaway"))),
        "no tier": (Reason.UNKNOWN_PLAN_TIER, Record(writer.v1(plan_tier=""))),
        "Mars": (Reason.UNKNOWN_REGION, Record(writer.v1(region="mars"))),
        "Bitcoin": (Reason.UNKNOWN_CURRENCY, Record(writer.v1(currency="BTC"))),
        "quantity -1": (Reason.NEGATIVE_QUANTITY, Record(writer.v1(quantity=-1))),
        "-12.50": (Reason.NEGATIVE_AMOUNT, Record(writer.v1(amount=Decimal("-12.50")))),
        "a refund of -12.50": (Reason.NEGATIVE_AMOUNT, Record(writer.v1(event_type="refund", amount=Decimal("-12.50")))),
        "3.2768 as a magnitude": (Reason.NEGATIVE_AMOUNT, Record(writer.raw_v1(amount=b"\x80\x00"))),
        "everything wrong: the first rule counts": (
            Reason.EVENT_TIME_IN_FUTURE,
            Record(writer.v1(event_time=YEAR_2099, ingest_time=EPOCH, region="mars", quantity=-1)),
        ),
    }


def padded(writer: Writer, size: int) -> bytes:
    """Return a good event whose value has exactly `size` bytes."""
    lengths = range(size - 200, size)
    return next(value for value in (writer.v1(product_id="x" * length) for length in lengths) if len(value) == size)


def wide(writer: Writer, amount: str) -> bytes:
    """Return an event whose amount has more digits than the contract allows."""
    return framed(writer.v1_id, body(event(writer.at, amount=Decimal(amount)), WIDE))
