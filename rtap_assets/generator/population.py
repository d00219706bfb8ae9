"""The fictional company: accounts, plans, regions, currencies, products and prices. Independent of the seed.

Money is in integer ten-thousandths (the scale of the contract's decimals), so nothing is ever rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Strings = NDArray[np.object_]
Integers = NDArray[np.int64]

UNITS_PER_ONE = 10_000
ZIPF_EXPONENT = 1.05
POPULATION_SEED = 20_240_229

EVENT_TYPES = ("purchase", "renewal", "upgrade", "downgrade", "refund")
EVENT_TYPE_SHARES = (0.46, 0.30, 0.11, 0.04, 0.09)
REFUND_INDEX = EVENT_TYPES.index("refund")
DOWNGRADE_INDEX = EVENT_TYPES.index("downgrade")

PLAN_TIERS = ("free", "starter", "pro", "enterprise")
ENTERPRISE_INDEX = PLAN_TIERS.index("enterprise")
TIER_SHARES = (0.35, 0.33, 0.24, 0.08)
REGIONS = ("na", "emea", "apac", "latam")
REGION_SHARES = (0.42, 0.31, 0.18, 0.09)

# Units of currency for one US dollar, and the share of the region's accounts that pay in it.
CURRENCIES = ("USD", "CAD", "EUR", "GBP", "CHF", "JPY", "AUD", "INR", "BRL", "MXN")
RATES_TO_USD = (1.0, 1.35, 0.92, 0.79, 0.88, 150.0, 1.52, 83.0, 5.1, 17.2)
WHOLE_UNIT_CURRENCIES = {"JPY"}
REGION_CURRENCIES = {
    "na": (("USD", 0.85), ("CAD", 0.15)),
    "emea": (("EUR", 0.62), ("GBP", 0.28), ("CHF", 0.10)),
    "apac": (("JPY", 0.40), ("AUD", 0.33), ("INR", 0.27)),
    "latam": (("BRL", 0.60), ("MXN", 0.40)),
}

# product, plan tier that buys it, list price in US dollars
PRODUCTS = (
    ("trial-credits", "free", 0.0),
    ("storage-5gb", "free", 1.99),
    ("sticker-pack", "free", 4.5),
    ("starter-monthly", "starter", 19.0),
    ("starter-annual", "starter", 190.0),
    ("extra-seat", "starter", 7.5),
    ("pro-monthly", "pro", 59.0),
    ("pro-annual", "pro", 590.0),
    ("api-pack-100k", "pro", 24.99),
    ("analytics-addon", "pro", 89.0),
    ("enterprise-monthly", "enterprise", 499.0),
    ("enterprise-annual", "enterprise", 4_990.0),
    ("premium-support", "enterprise", 1_250.0),
    ("dedicated-region", "enterprise", 2_400.0),
)
PROMO_CODES = (None, "WELCOME10", "SPRING20", "LOYAL05")
PROMO_PERCENT = (0, 10, 20, 5)
PROMO_SHARES = (0.85, 0.07, 0.05, 0.03)
SALES_CHANNELS = (None, "web", "partner", "sales", "app")
CHANNEL_SHARES = (0.1, 0.45, 0.15, 0.12, 0.18)

# (canonical, another spelling that the contract accepts), in the order of the lists above
# White space of several kinds surrounds some of them.
EVENT_TYPE_SPELLINGS = tuple((code, code.capitalize()) for code in EVENT_TYPES)
TIER_SPELLINGS = (("free", "Free"), ("starter", "basic"), ("pro", "Professional"), ("enterprise", "ENT\r\n"))
REGION_SPELLINGS = (("na", "North_America"), ("emea", "\u00a0EMEA \u200b"), ("apac", "asia_pacific"), ("latam", "LATAM"))
CURRENCY_SPELLINGS = tuple((code, code.lower() if code in ("USD", "EUR") else f"\ufeff{code}\t") for code in CURRENCIES)


@dataclass(frozen=True)
class Population:
    """The accounts as arrays, indexed by account number, and the prices in ten-thousandths by product and currency."""

    account_ids: Strings
    cumulative_activity: NDArray[np.float64]
    tier: Integers
    region: Integers
    currency: Integers
    prices: Integers
    products_of_tier: tuple[Integers, ...]


@lru_cache(maxsize=4)
def population(accounts: int) -> Population:
    """Return the company with `accounts` customers; a few of them generate most of the events (Zipf)."""
    rng = np.random.default_rng(POPULATION_SEED)
    activity = 1.0 / np.arange(1, accounts + 1) ** ZIPF_EXPONENT
    rng.shuffle(activity)
    region = pick(rng, REGION_SHARES, accounts)
    currency = np.zeros(accounts, dtype=np.int64)
    for number, name in enumerate(REGIONS):
        members = np.flatnonzero(region == number)
        codes, shares = zip(*REGION_CURRENCIES[name], strict=True)
        currency[members] = np.array([CURRENCIES.index(code) for code in codes])[pick(rng, shares, len(members))]
    return Population(
        account_ids=np.array([f"acct-{number:06d}" for number in range(accounts)], dtype=object),
        cumulative_activity=np.cumsum(activity / activity.sum()),
        tier=pick(rng, TIER_SHARES, accounts),
        region=region,
        currency=currency,
        prices=_prices(),
        products_of_tier=tuple(
            np.array([index for index, (_, buyer, _) in enumerate(PRODUCTS) if buyer == tier]) for tier in PLAN_TIERS
        ),
    )


def pick(rng: np.random.Generator, shares: tuple[float, ...], size: int) -> Integers:
    """Return `size` indexes into `shares`, each drawn with its share as probability."""
    return np.minimum(np.searchsorted(np.cumsum(shares), rng.random(size), side="right"), len(shares) - 1)


def _prices() -> Integers:
    """Return the price in ten-thousandths by [product, currency]; whole hundredths, or whole units for JPY."""
    prices = np.zeros((len(PRODUCTS), len(CURRENCIES)), dtype=np.int64)
    for row, (_, _, dollars) in enumerate(PRODUCTS):
        for column, (code, rate) in enumerate(zip(CURRENCIES, RATES_TO_USD, strict=True)):
            step = UNITS_PER_ONE if code in WHOLE_UNIT_CURRENCIES else UNITS_PER_ONE // 100
            prices[row, column] = round(dollars * rate * UNITS_PER_ONE / step) * step
    return prices
