"""Columns of good events, one chunk at a time. Pure: no I/O, no clock; equal inputs give equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtap_assets.contracts.avro.wire import header
from rtap_assets.generator import population as world
from rtap_assets.generator.encoding import (
    decimals,
    join_columns,
    optional_text,
    text,
    uuids,
    varint,
    varints,
)
from rtap_assets.generator.options import DELAY_SECONDS, GeneratorOptions

Columns = dict[str, NDArray[Any]]

JITTER_SECONDS = 2.0
LONGEST_JITTER_SECONDS = 60.0
LARGEST_QUANTITY = 50
# 0.0128 and 3.2768 with redundant sign bytes, as fixed-width decimal encoders write them.
AWKWARD_AMOUNTS = {amount: varint(width) + amount.to_bytes(width, "big") for amount, width in ((128, 9), (32_768, 16))}
ZERO_AS_NO_BYTES = varint(0)


@dataclass(frozen=True)
class WriterIds:
    """Registry ids: of the contract's versions, of one that breaks it (if requested), and of another subject.

    `other_team`: ids of the same versions under another subject and namespace (if requested).
    """

    versions: dict[int, int]
    incompatible: int | None = None
    foreign: int | None = None
    other_team: dict[int, int] = field(default_factory=dict)


def good_events(
    rng: np.random.Generator,
    options: GeneratorOptions,
    ids: WriterIds,
    *,
    base_ms: NDArray[np.int64],
    awkward: NDArray[np.int64],
) -> Columns:
    """Return one good event per entry of `base_ms`: the ledger's columns, and `key` and `value` as bytes.

    Units: amounts in ten-thousandths, times in milliseconds since the epoch.
    Time: event_time is `base_ms` less a small jitter, or 15-40 minutes less for the delayed share.
    `awkward` holds, per row, an amount to use instead (0: none).
    """
    size = len(base_ms)
    facts = _facts(rng, options, size)
    facts["event_type"] = np.where(awkward != 0, world.DOWNGRADE_INDEX, facts["event_type"])
    facts["amount"] = np.where(awkward != 0, awkward, facts["amount"])
    delayed = rng.random(size) < options.delayed
    jitter = np.minimum(rng.exponential(JITTER_SECONDS, size), LONGEST_JITTER_SECONDS)
    behind = np.where(delayed, rng.uniform(*DELAY_SECONDS, size), jitter)
    times = {"event_time": base_ms - (behind * 1000).astype(np.int64), "ingest_time": base_ms}
    encoded_ids, event_ids = uuids(rng, size)
    spelled = rng.random((4, size)) < options.spellings
    facts["other_team"] = (rng.random(size) < options.foreign_schemas) if ids.other_team else np.zeros(size, dtype=bool)
    account_ids = world.population(options.accounts).account_ids
    keys = objects([account.encode() for account in account_ids])
    return {
        "key": keys[facts["account"]],
        "value": objects(_encode(facts | times, ids, encoded_ids=encoded_ids, account_ids=account_ids, spelled=spelled)),
        "event_id": objects(event_ids),
        "account_id": account_ids[facts["account"]],
        "event_type": objects(world.EVENT_TYPES)[facts["event_type"]],
        "plan_tier": objects(world.PLAN_TIERS)[facts["tier"]],
        "region": objects(world.REGIONS)[facts["region"]],
        "currency": objects(world.CURRENCIES)[facts["currency"]],
        "amount": facts["amount"],
        "net_amount": np.where(facts["event_type"] == world.REFUND_INDEX, -facts["amount"], facts["amount"]),
        "schema_version": facts["schema_version"],
        "delayed": delayed,
    } | times


def objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """Return an array of Python objects; numpy's own strings would lose trailing zero bytes and `None`."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _facts(rng: np.random.Generator, options: GeneratorOptions, size: int) -> Columns:
    """Return what was sold to which account for which amount, as indexes into the population's tables."""
    company = world.population(options.accounts)
    account = np.minimum(np.searchsorted(company.cumulative_activity, rng.random(size)), options.accounts - 1)
    tier, currency = company.tier[account], company.currency[account]
    event_type = world.pick(rng, world.EVENT_TYPE_SHARES, size)
    product, draw = np.zeros(size, dtype=np.int64), rng.random(size)
    for number, choices in enumerate(company.products_of_tier):
        product = np.where(tier == number, choices[(draw * len(choices)).astype(np.int64)], product)
    seats = rng.geometric(0.55, size) * np.where(tier == world.ENTERPRISE_INDEX, 5, 1)
    emptied = (event_type == world.DOWNGRADE_INDEX) & (rng.random(size) < 0.2)
    quantity = np.where(emptied, 0, np.minimum(seats, LARGEST_QUANTITY))
    promo = world.pick(rng, world.PROMO_SHARES, size)
    # Prices are whole hundredths, so an integer percentage of one is an integer number of ten-thousandths.
    amount = company.prices[product, currency] * quantity * (100 - np.array(world.PROMO_PERCENT)[promo]) // 100
    partial_refund = (event_type == world.REFUND_INDEX) & (rng.random(size) < 0.3)
    return {
        "account": account,
        "tier": tier,
        "region": company.region[account],
        "currency": currency,
        "event_type": event_type,
        "product": product,
        "quantity": quantity,
        "promo": promo,
        "channel": world.pick(rng, world.CHANNEL_SHARES, size),
        "amount": np.where(partial_refund, amount // 3, amount),
        "schema_version": np.where(rng.random(size) < options.v1_share, 1, 2).astype(np.int32),
    }


def _encode(
    facts: Columns,
    ids: WriterIds,
    *,
    encoded_ids: list[bytes],
    account_ids: NDArray[np.object_],
    spelled: NDArray[np.bool_],
) -> list[bytes]:
    """Return the Kafka value of each row: header, then the fields of its schema version in the schema's order."""
    version = facts["schema_version"]
    headers = [header(subject[number]) for subject in (ids.versions, ids.other_team or ids.versions) for number in (1, 2)]
    amounts = decimals(facts["amount"])
    for amount, encoded in AWKWARD_AMOUNTS.items():
        for row in np.flatnonzero(facts["amount"] == amount).tolist():
            amounts[row] = encoded
    for row in np.flatnonzero((facts["amount"] == 0) & (version == 2)).tolist():
        amounts[row] = ZERO_AS_NO_BYTES
    return join_columns(
        [
            _lookup(headers, version - 1 + 2 * facts["other_team"]),
            encoded_ids,
            varints(facts["event_time"]),
            varints(facts["ingest_time"]),
            _lookup([varint(1), varint(2)], version - 1),
            _spelled(world.EVENT_TYPE_SPELLINGS, facts["event_type"], spelled[0]),
            _lookup([text(account) for account in account_ids], facts["account"]),
            _spelled(world.TIER_SPELLINGS, facts["tier"], spelled[1]),
            _spelled(world.REGION_SPELLINGS, facts["region"], spelled[2]),
            _lookup([text(product) for product, _, _ in world.PRODUCTS], facts["product"]),
            _lookup([varint(number) for number in range(LARGEST_QUANTITY + 1)], facts["quantity"]),
            amounts,
            _spelled(world.CURRENCY_SPELLINGS, facts["currency"], spelled[3]),
            _lookup(_TAILS, np.where(version == 1, 0, 1 + facts["promo"] * len(world.SALES_CHANNELS) + facts["channel"])),
        ]
    )


# What follows the currency: nothing in version 1, promo_code and sales_channel in version 2.
_TAILS = [b""] + [
    optional_text(promo) + optional_text(channel) for promo in world.PROMO_CODES for channel in world.SALES_CHANNELS
]


def _lookup(table: Sequence[bytes], indexes: NDArray[Any]) -> list[bytes]:
    found: list[bytes] = objects(table)[indexes].tolist()
    return found


def _spelled(table: Sequence[tuple[str, str]], indexes: NDArray[Any], other: NDArray[np.bool_]) -> list[bytes]:
    """Return the canonical spelling of each code, or the other accepted one."""
    flat = [text(spelling) for pair in table for spelling in pair]
    return _lookup(flat, indexes * 2 + other)
