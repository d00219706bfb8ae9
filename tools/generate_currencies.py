"""Write `rtap_assets/contracts/currencies.py` from ISO 4217 list one and CLDR's currency dates.

Run it when ISO publishes an amendment, in an environment of its own:

    python -m venv /tmp/currencies && /tmp/currencies/bin/pip install iso4217 Babel
    /tmp/currencies/bin/python tools/generate_currencies.py

List one (package `iso4217`, which ships the maintenance agency's file) says which codes are active; CLDR (package `Babel`)
says when a code came into force and when it was withdrawn. CLDR counts a currency as long as its cash was legal tender:
where the euro replaced it overnight, the last day is the one before the euro.
"""

from __future__ import annotations

from datetime import date, timedelta
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from textwrap import fill
from xml.etree import ElementTree

from babel.core import get_global

TARGET = Path(__file__).parents[1] / "rtap_assets" / "contracts" / "currencies.py"
NO_MONEY = {"XXX", "XTS"}  # "no currency" and "for testing"
FIRST_DAY = date(2000, 1, 1)  # dates before are left out: no sales event is that old
CASH_AFTER_THE_EURO = timedelta(days=60)

HEAD = '''"""The currency codes of ISO 4217 with the days on which they were in force. Generated; do not edit.

By `tools/generate_currencies.py` from ISO 4217 list one as published on {published} (package iso4217 {iso4217}) and
CLDR's currency dates (package Babel {babel}). Codes withdrawn before {first} are left out, as are XXX and XTS, which
stand for no money.
"""

from __future__ import annotations

from datetime import date

LIST_ONE_PUBLISHED = {published!r}

ACTIVE = frozenset(
    """{active}""".split()
)

# First day (UTC) of codes introduced since {first}.
IN_FORCE_SINCE = {{
{since}
}}

# Last day (UTC) of codes that are no longer in list one.
IN_FORCE_UNTIL = {{
{until}
}}
'''


def list_one() -> tuple[date, set[str]]:
    """Return the date of publication and the active codes."""
    text = (files("iso4217") / "table.xml").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)  # noqa: S314 - a file of an installed package
    codes = {code for entry in root.iter("CcyNtry") if (code := entry.findtext("Ccy"))}
    return date.fromisoformat(root.attrib["Pblshd"]), codes - NO_MONEY


def cldr_dates() -> dict[str, tuple[date | None, date | None]]:
    """Return the first and the last day of each code over all territories; None: no date."""
    territories = get_global("territory_currencies")
    euro = {
        territory: date(*start) for territory, uses in territories.items() for code, start, _, _ in uses if code == "EUR"
    }
    found: dict[str, list[tuple[date | None, date | None]]] = {}
    for territory, uses in territories.items():
        for code, start, end, _ in uses:
            first, last = (date(*day) if day else None for day in (start, end))
            changeover = euro.get(territory)
            if last and changeover and code != "EUR" and timedelta(0) <= last - changeover <= CASH_AFTER_THE_EURO:
                last = changeover - timedelta(days=1)
            found.setdefault(code, []).append((first, last))
    return {code: (_earliest(uses), _latest(uses)) for code, uses in found.items()}


def _earliest(uses: list[tuple[date | None, date | None]]) -> date | None:
    days = [first for first, _ in uses]
    return None if None in days else min(day for day in days if day)


def _latest(uses: list[tuple[date | None, date | None]]) -> date | None:
    days = [last for _, last in uses]
    return None if None in days else max(day for day in days if day)


def _lines(days: dict[str, date]) -> str:
    return "\n".join(f'    "{code}": {day!r},'.replace("datetime.", "") for code, day in sorted(days.items()))


def main() -> None:
    """Write the module."""
    published, active = list_one()
    dates = cldr_dates()
    until = {code: last for code, (_, last) in dates.items() if code not in active and last and last >= FIRST_DAY}
    since = {
        code: first
        for code, (first, _) in dates.items()
        if (code in active or code in until) and first and first >= FIRST_DAY
    }
    text = HEAD.format(
        published=published,
        iso4217=version("iso4217"),
        babel=version("Babel"),
        first=FIRST_DAY,
        active=fill(" ".join(sorted(active)), 118, subsequent_indent="    "),
        since=_lines(since),
        until=_lines(until),
    )
    text = text.replace(f"LIST_ONE_PUBLISHED = {published}", f"LIST_ONE_PUBLISHED = {published!r}".replace("datetime.", ""))
    TARGET.write_text(text.replace("datetime.date(", "date("), encoding="utf-8")


if __name__ == "__main__":
    main()
