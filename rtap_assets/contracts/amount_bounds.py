"""Parse the setting that bounds the plausible amount of one event, per currency."""

from __future__ import annotations

import json
import re
from decimal import Decimal

LARGEST_AMOUNT = Decimal(10**14)  # decimal(18,4) ends below
OTHER_CURRENCIES = "*"


def amounts_by_currency(text: str) -> dict[str, Decimal]:
    """Return the amount of each currency in a JSON object; `*` stands for every currency that is not named.

    Raises:
        ValueError: the text is not such an object.
    """
    try:
        amounts = json.loads(text, parse_int=Decimal, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise ValueError(f"RTAP_DQ_MAX_AMOUNT is no JSON object ({error})") from error
    if not isinstance(amounts, dict) or not all(_is_bound(*item) for item in amounts.items()):
        raise ValueError(
            'RTAP_DQ_MAX_AMOUNT must map currencies or "*" to amounts above 0, as in {"*": 10000000, "JPY": 1e9}'
        )
    return amounts


def _is_bound(currency: str, amount: object) -> bool:
    named = currency == OTHER_CURRENCIES or re.fullmatch("[A-Z]{3}", currency) is not None
    return named and isinstance(amount, Decimal) and 0 < amount < LARGEST_AMOUNT
