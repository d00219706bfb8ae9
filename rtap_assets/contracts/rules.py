"""What makes a sales event valid: the closed list of reason codes, the accepted codes and their canonical values.

Data only. `transforms/bronze.py` turns it into columns, the DLQ carries the codes, `docs/contract.md` lists them (a test
holds that page to this file).
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a Kafka record is quarantined. The order is the order of judgement: the first that applies is recorded."""

    TOMBSTONE = "tombstone"
    TOO_SHORT = "too_short"
    OVERSIZED = "oversized"
    BAD_MAGIC = "bad_magic"
    UNKNOWN_SCHEMA_ID = "unknown_schema_id"
    INCOMPATIBLE_SCHEMA = "incompatible_schema"
    AMOUNT_OVERFLOW = "amount_overflow"
    UNDECODABLE = "undecodable"
    TRAILING_BYTES = "trailing_bytes"
    NULL_KEY = "null_key"
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


# One sentence each, for the person on call.
EXPLANATIONS: dict[Reason, str] = {
    Reason.TOMBSTONE: "The record has no value at all; sales events are never deleted by key.",
    Reason.TOO_SHORT: "The value is shorter than the five bytes that carry the magic byte and the schema id.",
    Reason.OVERSIZED: "The value is larger than RTAP_MAX_EVENT_BYTES; no sales event is that large.",
    Reason.BAD_MAGIC: "The first byte is not 0, so the producer did not use a Schema Registry serializer.",
    Reason.UNKNOWN_SCHEMA_ID: "The schema id is not registered under the topic's subject.",
    Reason.INCOMPATIBLE_SCHEMA: "The writer's schema is registered, but changes a type, precision, scale or unit.",
    Reason.AMOUNT_OVERFLOW: "The amount has more digits than decimal(18,4) holds.",
    Reason.UNDECODABLE: "The body does not decode with its writer's schema: it is truncated, random or corrupt.",
    Reason.TRAILING_BYTES: "A complete event is followed by more bytes, so the body is not what its schema says.",
    Reason.NULL_KEY: "The record has no key; without account_id as key the order per customer is not kept.",
    Reason.MISSING_FIELD: "event_id, account_id or product_id is empty.",
    Reason.KEY_MISMATCH: "The Kafka key is not the event's account_id, so the record sits in the wrong Kafka partition.",
    Reason.INVALID_EVENT_ID: "event_id is not a UUID, so it cannot serve as idempotency key.",
    Reason.EVENT_TIME_IN_FUTURE: "event_time is further after the broker's timestamp than clocks may differ.",
    Reason.EVENT_TIME_TOO_OLD: "event_time is further before the broker's timestamp than the platform accepts.",
    Reason.IMPLAUSIBLE_INGEST_TIME: "ingest_time is outside the bounds of event_time; latency would be meaningless.",
    Reason.UNKNOWN_EVENT_TYPE: "event_type is not one of the contract's event types.",
    Reason.UNKNOWN_PLAN_TIER: "plan_tier is neither a known tier nor a known spelling of one.",
    Reason.UNKNOWN_REGION: "region is neither a known region nor a known spelling of one.",
    Reason.UNKNOWN_CURRENCY: "currency is not an ISO 4217 code.",
    Reason.NEGATIVE_QUANTITY: "quantity is below zero; a return is an event of type refund, not a negative sale.",
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

REQUIRED_TEXT_FIELDS = ("event_id", "account_id", "product_id")
UUID_PATTERN = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

# ISO 4217 list one (active codes of countries' currencies), https://www.iso.org/iso-4217-currency-codes.html
CURRENCIES = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR
    IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR
    MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD
    SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD
    XCG XOF XPF YER ZAR ZMW ZWG""".split()
)
