"""The audit's own reading of a record: decoded by fastavro, judged by a second, small implementation of the contract.

No Spark, no I/O. It shares only the contract's lists of codes with the streams, so that a fault in the streams' plan is
not repeated here.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastavro import schemaless_reader

from rtap_assets.config import Settings
from rtap_assets.contracts import rules
from rtap_assets.contracts.avro.known_writers import GLOBAL_PREFIX, GUID_PREFIX
from rtap_assets.contracts.avro.wire import (
    APICURIO_CONTENT_ID_HEADER,
    CONFLUENT_ID_HEADER,
    HEADER_BYTES,
    ID_HEADERS,
    MAGIC_BYTE,
    WIDE_HEADER_BYTES,
)
from rtap_assets.contracts.dead_letters import Headers
from rtap_assets.contracts.rules import Reason
from rtap_assets.runtime.clock import from_milliseconds

LARGEST_UNSCALED = 10**18 - 1  # of decimal(18,4)
UUID = re.compile(rules.UUID_PATTERN)
OUTER = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # categories that are trimmed from both ends of a code or id
FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # and that no text contains
INSTANTS = ("event_time", "ingest_time")
LARGEST_INSTANT_MS = (2**63 - 1) // 1000  # beyond this, the tables' microseconds overflow
NO_HEADER = "none"
GUID_HEADER_BYTES, APICURIO_ID_BYTES = 17, 8
MOST_KEPT = 50_000  # texts
ORDER = tuple(reason.value for reason in Reason)
TEXTS = (
    "event_id", "event_type", "account_id", "plan_tier", "region", "product_id", "currency", "promo_code", "sales_channel",
)  # fmt: skip
REQUIRED = ("event_time", "ingest_time", "quantity", "amount")  # the required fields that are not text
INVALID = object()  # text that is not valid UTF-8, or has control characters inside


@dataclass(frozen=True)
class Writer:
    """A writer's schema for the audit: parsed, without logical types, every text as bytes.

    `refusal` is a reason code when the contract refuses the schema; `names` maps the contract's fields to the writer's.
    """

    schema: Any = None
    names: Mapping[str, str] | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class Judged:
    """A record's verdict (None: valid) and, if it decodes, the event in canonical form.

    Units: `amount` and `net_amount` in ten-thousandths, times in milliseconds since the epoch.
    """

    verdict: str | None
    event: Mapping[str, Any]


class Judge:
    """Judges records one by one; `writer_of` returns the schema of a writer key."""

    def __init__(self, settings: Settings, writer_of: Callable[[str], Writer]) -> None:
        self._writer_of = writer_of
        self._largest = settings.max_event_bytes
        self._future_ms = settings.event_time_future_seconds * 1000
        self._past_ms = settings.event_time_past_seconds * 1000
        self._clean: dict[bytes, Any] = {}

    def judge(self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers = ()) -> Judged:
        """Return the verdict on one Kafka record; `timestamp_ms` is the broker's, in milliseconds since the epoch."""
        if value is None:
            return Judged(Reason.TOMBSTONE, {})
        if len(value) < HEADER_BYTES:
            return Judged(Reason.TOO_SHORT, {})
        writer, start = self._writer(value, headers)
        if writer.refusal is not None:
            return Judged(writer.refusal, {})
        body = io.BytesIO(value)
        body.seek(start)
        try:
            raw: Any = schemaless_reader(body, writer.schema, None, handle_unicode_errors="replace")
        except Exception:
            return Judged(Reason.UNDECODABLE, {})
        names = writer.names or {}
        event = {field: raw.get(name) for field, name in names.items()}
        if any(abs(event.get(name) or 0) > LARGEST_INSTANT_MS for name in INSTANTS):
            return Judged(Reason.UNDECODABLE, {})
        broken = {Reason.TRAILING_BYTES.value} if body.tell() < len(value) else set()
        return self._ruled(event, key, timestamp_ms, broken)

    def _writer(self, value: bytes, headers: Headers) -> tuple[Writer, int]:
        """Return the schema that the record names and the start of its body, or the fault of its framing."""
        if len(value) > self._largest:
            return Writer(refusal=Reason.OVERSIZED), 0
        named = _named_in(headers) if headers else NO_HEADER
        if named is not NO_HEADER:
            return (self._writer_of(named), 0) if named else (Writer(refusal=Reason.UNSUPPORTED_FRAMING), 0)
        if value[0] != MAGIC_BYTE:
            return Writer(refusal=Reason.BAD_MAGIC), 0
        schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
        if schema_id == 0 and len(value) >= WIDE_HEADER_BYTES:
            wide = int.from_bytes(value[HEADER_BYTES:WIDE_HEADER_BYTES], "big")
            return self._writer_of(f"{GLOBAL_PREFIX}{wide}"), WIDE_HEADER_BYTES
        return self._writer_of(str(schema_id)), HEADER_BYTES

    def _ruled(self, event: dict[str, Any], key: bytes | None, timestamp_ms: int, broken: set[str]) -> Judged:
        """Return the first broken rule, in the order of `Reason`; cleans the event's texts in place."""
        for name in TEXTS:
            event[name] = self._text(event.get(name), keep=name != "event_id")
            if event[name] is INVALID:
                broken.add(Reason.INVALID_TEXT)
                event[name] = None
        key_text = self._text(key)
        if key is None:
            broken.add(Reason.NULL_KEY)
        elif key_text is INVALID:
            broken |= {Reason.INVALID_TEXT.value, Reason.KEY_MISMATCH.value}
        elif key_text != event["account_id"]:
            broken.add(Reason.KEY_MISMATCH)
        if not (event["event_id"] and event["account_id"] and event["product_id"]):
            broken.add(Reason.MISSING_FIELD)
        if not UUID.fullmatch(event["event_id"] or ""):
            broken.add(Reason.INVALID_EVENT_ID)
        if any(event.get(name) is None for name in REQUIRED):
            return Judged(next(reason for reason in ORDER if reason in broken | {Reason.MISSING_FIELD.value}), event)
        self._rule_times(event, timestamp_ms, broken)
        _rule_codes(event, broken)
        _rule_figures(event, broken)
        known = (reason for reason in ORDER if reason in broken)
        return Judged(next(known, None), event)

    def _rule_times(self, event: dict[str, Any], timestamp_ms: int, broken: set[str]) -> None:
        lead_ms = event["event_time"] - timestamp_ms
        if lead_ms > self._future_ms:
            broken.add(Reason.EVENT_TIME_IN_FUTURE)
        if -lead_ms > self._past_ms:
            broken.add(Reason.EVENT_TIME_TOO_OLD)
        lead_ms = event["ingest_time"] - timestamp_ms
        if lead_ms > self._future_ms or -lead_ms > self._past_ms:
            broken.add(Reason.IMPLAUSIBLE_INGEST_TIME)

    def _text(self, value: bytes | str | None, *, keep: bool = True) -> Any:
        """Return the trimmed text, or INVALID; cached with `keep`, for values that repeat, such as codes and accounts."""
        if value is None:
            return None
        raw = value.encode() if isinstance(value, str) else value
        if not keep:
            return _clean_text(raw)
        found = self._clean.get(raw)
        if found is None:
            if len(self._clean) > MOST_KEPT:
                self._clean.clear()
            found = self._clean[raw] = _clean_text(raw)
        return found


def _named_in(headers: Headers) -> str:
    """Return the writer key in the headers; NO_HEADER without a schema header, "" for a header that is not an id."""
    found = next(((name, value or b"") for name, value in reversed(headers) if name in ID_HEADERS), None)
    if found is None:
        return NO_HEADER
    name, value = found
    if name == CONFLUENT_ID_HEADER:
        if len(value) == HEADER_BYTES and value[0] == 0:
            return str(int.from_bytes(value[1:], "big"))
        return f"{GUID_PREFIX}{value[1:].hex()}" if len(value) == GUID_HEADER_BYTES and value[0] == 1 else ""
    if len(value) != APICURIO_ID_BYTES:
        return ""
    number = int.from_bytes(value, "big")
    return str(number) if name == APICURIO_CONTENT_ID_HEADER else f"{GLOBAL_PREFIX}{number}"


def _clean_text(raw: bytes) -> Any:
    """Return the text as the contract stores it: valid UTF-8 without surrounding white space; else INVALID."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return INVALID
    if text.isascii() and text.isprintable() and text[:1] != " " and text[-1:] != " ":
        return text
    start, end = 0, len(text)
    while start < end and (text[start].isspace() or unicodedata.category(text[start]) in OUTER):
        start += 1
    while end > start and (text[end - 1].isspace() or unicodedata.category(text[end - 1]) in OUTER):
        end -= 1
    text = text[start:end]
    return INVALID if any(unicodedata.category(character) in FORBIDDEN for character in text) else text


def _rule_codes(event: dict[str, Any], broken: set[str]) -> None:
    for name, known, reason in (
        ("event_type", rules.EVENT_TYPES, Reason.UNKNOWN_EVENT_TYPE),
        ("plan_tier", rules.PLAN_TIERS, Reason.UNKNOWN_PLAN_TIER),
        ("region", rules.REGIONS, Reason.UNKNOWN_REGION),
    ):
        canonical = known.get((event[name] or "").lower())
        if canonical is None:
            broken.add(reason)
        event[name] = canonical
    event["currency"] = (event["currency"] or "").upper()
    if not _is_currency(event["currency"], event["event_time"]):
        broken.add(Reason.UNKNOWN_CURRENCY)


def _is_currency(code: str, event_time_ms: int) -> bool:
    """Return whether ISO 4217 had the code in force on the day of the event (UTC); false beyond the calendar."""
    try:
        day = (from_milliseconds(event_time_ms)).date()
    except OverflowError:
        return False
    return rules.currency_fault(code, day) is None


def _rule_figures(event: dict[str, Any], broken: set[str]) -> None:
    if event["quantity"] < 0:
        broken.add(Reason.NEGATIVE_QUANTITY)
    unscaled = int.from_bytes(event["amount"], "big", signed=True)
    if abs(unscaled) > LARGEST_UNSCALED:
        broken.add(Reason.AMOUNT_OVERFLOW)
        unscaled = 0
    if unscaled < 0:
        broken.add(Reason.NEGATIVE_AMOUNT)
    net = -abs(unscaled) if event["event_type"] == rules.REFUND else unscaled
    event["amount"], event["net_amount"] = unscaled, net
