"""The currency table in Python, and the settings that bound amounts."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from rtap_assets.config import load_settings
from rtap_assets.contracts import currencies
from rtap_assets.contracts.rules import currency_fault
from rtap_assets.errors import ConfigurationError

SPRING_2026 = date(2026, 3, 1)


def test_list_one_is_complete_with_funds_and_metals_and_without_what_is_no_money() -> None:
    assert len(currencies.ACTIVE) == 176
    assert (
        set("EUR USD CLF COU UYW UYI CHE CHW MXV USN BOV XAU XAG XDR XSU XUA XCG ZWG VED VES".split()) <= currencies.ACTIVE
    )
    assert not {"XXX", "XTS", "BGN", "HRK", "CUC", "CNH"} & currencies.ACTIVE
    assert currencies.ACTIVE.isdisjoint(currencies.IN_FORCE_UNTIL)
    assert currencies.IN_FORCE_SINCE.keys() <= currencies.ACTIVE | currencies.IN_FORCE_UNTIL.keys()


@pytest.mark.parametrize(
    ("code", "first", "last"),
    [
        ("BGN", None, date(2025, 12, 31)),
        ("HRK", None, date(2022, 12, 31)),
        ("LTL", None, date(2014, 12, 31)),
        ("VEF", date(2008, 1, 1), date(2018, 8, 20)),
        ("ZWL", date(2009, 2, 2), date(2024, 8, 31)),
        ("XCG", date(2025, 3, 31), None),
    ],
)
def test_a_code_is_in_force_from_its_first_to_its_last_day(code: str, first: date | None, last: date | None) -> None:
    assert (currencies.IN_FORCE_SINCE.get(code), currencies.IN_FORCE_UNTIL.get(code)) == (first, last)
    assert currency_fault(code, last or SPRING_2026) is None
    if last is not None:
        assert currency_fault(code, last.replace(year=last.year + 1)) == f"{code} withdrawn {last}"
    if first is not None:
        assert currency_fault(code, first.replace(year=first.year - 1)) == f"{code} in force from {first}"


def test_a_code_of_no_currency_is_named() -> None:
    assert currency_fault("BTC", SPRING_2026) == "BTC"


def test_plausible_amounts_are_read_exactly() -> None:
    settings = load_settings(dq_max_amount='{"*": 1000, "JPY": 100000.0001}')
    assert settings.plausible_amounts == {"*": Decimal(1000), "JPY": Decimal("100000.0001")}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"EUR": "9"}', '{"eur": 9}', '{"EUR": 0}', '{"EUR": 1e14}', '{"EUR": NaN}']
)
def test_a_bound_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="RTAP_DQ_MAX_AMOUNT"):
        load_settings(dq_max_amount=text)
