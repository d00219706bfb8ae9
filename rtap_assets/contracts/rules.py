"""Defines a valid sales event: the closed list of reason codes, the accepted codes and their canonical values.

Data only. `transforms/judging.py` turns it into columns, the dead-letter topic carries the codes, `docs/contract.md` lists
them (a test compares that page with this file).
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from rtap_assets.contracts.currencies import ACTIVE, IN_FORCE_SINCE, IN_FORCE_UNTIL


class Reason(StrEnum):
    """Why a Kafka record is quarantined, in order of evaluation: the first that applies is recorded."""

    TOMBSTONE = "tombstone"
    TOO_SHORT = "too_short"
    OVERSIZED = "oversized"
    BAD_MAGIC = "bad_magic"
    UNSUPPORTED_FRAMING = "unsupported_framing"
    NOT_AVRO = "not_avro"
    UNKNOWN_SCHEMA_ID = "unknown_schema_id"
    INCOMPATIBLE_SCHEMA = "incompatible_schema"
    UNDECODABLE = "undecodable"
    TRAILING_BYTES = "trailing_bytes"
    AMOUNT_OVERFLOW = "amount_overflow"
    NULL_KEY = "null_key"
    INVALID_TEXT = "invalid_text"
    MISSING_FIELD = "missing_field"
    KEY_MISMATCH = "key_mismatch"
    INVALID_EVENT_ID = "invalid_event_id"
    EVENT_TIME_IN_FUTURE = "event_time_in_future"
    EVENT_TIME_TOO_OLD = "event_time_too_old"
    IMPLAUSIBLE_INGEST_TIME = "implausible_ingest_time"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    UNKNOWN_PLAN_TIER = "unknown_plan_tier"
    UNKNOWN_REGION = "unknown_region"
    UNKNOWN_CURRENCY = "unknown_currency"
    NEGATIVE_QUANTITY = "negative_quantity"
    NEGATIVE_AMOUNT = "negative_amount"


# One sentence each, for the operator on call.
EXPLANATIONS: dict[Reason, str] = {
    Reason.TOMBSTONE: "The record has no value; sales events are never deleted by key.",
    Reason.TOO_SHORT: "The value is shorter than the five bytes that carry the magic byte and the schema id.",
    Reason.OVERSIZED: "The value is larger than RTAP_MAX_EVENT_BYTES; no sales event is that large.",
    Reason.BAD_MAGIC: "The value neither starts with the magic byte 0 nor has another framing that is known here.",
    Reason.UNSUPPORTED_FRAMING: "Another serializer's framing, whose schemas the registry in use does not give; see detail.",
    Reason.NOT_AVRO: "JSON, Protobuf or another format where Avro is wanted; the detail names it.",
    Reason.UNKNOWN_SCHEMA_ID: "The registry knows no schema under the id, whatever the subject.",
    Reason.INCOMPATIBLE_SCHEMA: "The writer's schema is registered, but the contract cannot read it unchanged; see detail.",
    Reason.UNDECODABLE: "The body does not decode with its writer's schema: it is truncated, random or corrupt.",
    Reason.TRAILING_BYTES: "A complete event is followed by more bytes, so the body does not match its schema.",
    Reason.AMOUNT_OVERFLOW: "The amount has more digits than decimal(18,4) holds.",
    Reason.NULL_KEY: "The record has no key; without account_id as key the order per customer is not kept.",
    Reason.INVALID_TEXT: "A text field or the key is not UTF-8, or holds control or format characters within.",
    Reason.MISSING_FIELD: "event_id, account_id or product_id is empty, or a required field is null.",
    Reason.KEY_MISMATCH: "The Kafka key is not the event's account_id, so the record sits in the wrong Kafka partition.",
    Reason.INVALID_EVENT_ID: "event_id is not a UUID, so it cannot serve as idempotency key.",
    Reason.EVENT_TIME_IN_FUTURE: "event_time is further after the broker's timestamp than clocks may differ.",
    Reason.EVENT_TIME_TOO_OLD: "event_time is further before the broker's timestamp than the platform accepts.",
    Reason.IMPLAUSIBLE_INGEST_TIME: "ingest_time is outside the bounds of event_time; latency would be meaningless.",
    Reason.UNKNOWN_EVENT_TYPE: "event_type is not one of the contract's event types.",
    Reason.UNKNOWN_PLAN_TIER: "plan_tier is neither a known tier nor a known spelling of one.",
    Reason.UNKNOWN_REGION: "region is neither a known region nor a known spelling of one.",
    Reason.UNKNOWN_CURRENCY: "currency is not an ISO 4217 code that was in force at the event time.",
    Reason.NEGATIVE_QUANTITY: "quantity is below zero; a return is an event of type refund, not a negative sale.",
    Reason.NEGATIVE_AMOUNT: "amount is below zero; a refund carries the amount paid back as a positive number.",
}

# Accepted spelling -> canonical value, after trimming and lower-casing.
EVENT_TYPES = {code: code for code in ("purchase", "renewal", "upgrade", "downgrade", "refund")}
PLAN_TIERS = {code: code for code in ("free", "starter", "pro", "enterprise")} | {
    "basic": "starter",
    "professional": "pro",
    "ent": "enterprise",
}
REGIONS = {code: code for code in ("na", "emea", "apac", "latam")} | {
    "north_america": "na",
    "europe": "emea",
    "asia_pacific": "apac",
    "latin_america": "latam",
}
REFUND = "refund"

# Reasons that make a record undecodable; all later reasons are evaluated on its fields.
DECODING_REASONS = tuple(Reason)[: list(Reason).index(Reason.AMOUNT_OVERFLOW)]

# Every text field, in the order in which it is checked. The Kafka key follows the same rule.
TEXT_FIELDS = (
    "event_id",
    "account_id",
    "product_id",
    "event_type",
    "plan_tier",
    "region",
    "currency",
    "promo_code",
    "sales_channel",
)
# Fields that are never null in a valid event; the ids among them are never empty either.
REQUIRED_FIELDS = (
    "event_id",
    "event_time",
    "ingest_time",
    "event_type",
    "account_id",
    "plan_tier",
    "region",
    "product_id",
    "quantity",
    "amount",
    "currency",
)
REQUIRED_TEXT_FIELDS = ("event_id", "account_id", "product_id")
UUID_PATTERN = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # to be matched in full


def currency_fault(code: str, day: date) -> str | None:
    """Return what is wrong with an upper-case currency code on a day (UTC); None when ISO 4217 has it in force."""
    since, until = IN_FORCE_SINCE.get(code), IN_FORCE_UNTIL.get(code)
    if code not in ACTIVE and until is None:
        return code
    if until is not None and day > until:
        return f"{code} withdrawn {until}"
    return f"{code} in force from {since}" if since is not None and day < since else None
