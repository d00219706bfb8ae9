"""Every rule with facts on both sides of its bound, the pages that name them, and what is not known."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from fake_host import NOON as NOW
from fake_host import status

from rtap_assets.alerts.composing import anchor, runbook_link
from rtap_assets.alerts.model import CheckFact, DaemonFact, DeadLettersFact, DiskFact, Facts, NewsFact, Severity, TickFact
from rtap_assets.alerts.rules import RULES, judge
from rtap_assets.config import PROJECT_ROOT, Settings, load_settings
from rtap_assets.streaming.model.states import Desired, Observed

SETTINGS = load_settings(_env_file=None)


def ago(**span: float) -> Any:
    return NOW - timedelta(**span)


@pytest.mark.parametrize(
    "facts, expected",
    [
        ({"streams": [status("gold", Observed.BROKEN)]}, {"stream/gold": Severity.ERROR}),
        ({"streams": [status("gold", Observed.REFUSED)]}, {"stream/gold": Severity.ERROR}),
        ({"streams": [status("gold", Observed.WAITING, since=ago(seconds=601))]}, {"stream/gold": Severity.ERROR}),
        ({"streams": [status("gold", Observed.WAITING, since=ago(seconds=599))]}, {}),
        ({"streams": [status("gold", Observed.STALLED)]}, {"stream/gold": Severity.WARNING}),
        ({"streams": [status("gold", Observed.UNKNOWN)]}, {"stream/gold": Severity.WARNING}),
        ({"streams": [status("gold", Observed.STOPPED, desired=Desired.STOPPED)]}, {}),
        ({"streams": [status("gold", lag_seconds=601)]}, {"lag/gold": Severity.WARNING}),
        ({"streams": [status("gold", lag_seconds=600)]}, {}),
        ({"streams": [status("gold", lag_seconds=None)]}, {}),
        ({"checks": [CheckFact("t", "c", False, Severity.ERROR, "bad")]}, {"check/t c": Severity.ERROR}),
        ({"checks": [CheckFact("t", "c", False, Severity.WARNING, "bad")]}, {"check/t c": Severity.WARNING}),
        ({"checks": [CheckFact("t", "c", True, Severity.ERROR, "good")]}, {}),
        ({"news": [NewsFact("gold/x", ago(minutes=9))]}, {}),
        ({"news": [NewsFact("gold/x", ago(minutes=11))]}, {"freshness/gold/x": Severity.WARNING}),
        ({"news": [NewsFact("gold/x", ago(minutes=31))]}, {"freshness/gold/x": Severity.ERROR}),
        ({"dead_letters": DeadLettersFact(1_000, ago(hours=1))}, {}),
        ({"dead_letters": DeadLettersFact(1_001, ago(hours=1))}, {"dead_letters/sales.events.dlq.v1": Severity.WARNING}),
        ({"dead_letters": DeadLettersFact(1, ago(hours=25))}, {"dead_letters/sales.events.dlq.v1": Severity.WARNING}),
        ({"dead_letters": DeadLettersFact(0, None)}, {}),
        ({"ticks": [TickFact("s", 60, ago(seconds=179))]}, {}),
        ({"ticks": [TickFact("s", 60, ago(seconds=181))]}, {"sensor/s": Severity.ERROR}),
        ({"ticks": [TickFact("s", 10, ago(seconds=119))]}, {}),
        ({"ticks": [TickFact("s", 10, ago(seconds=121))]}, {"sensor/s": Severity.ERROR}),
        ({"disks": [DiskFact("/a", 6, 100)]}, {}),
        ({"disks": [DiskFact("/a", 4, 100)]}, {"disk//a": Severity.WARNING}),
        ({"disks": [DiskFact("/a", 9, 1_000)]}, {"disk//a": Severity.ERROR}),
        ({"tables": {"gold.x": [], "gold.y": ["gold.y has too many."]}}, {"table_bounds/gold.y": Severity.WARNING}),
        ({"daemon": DaemonFact(ago(seconds=179))}, {}),
        ({"daemon": DaemonFact(ago(seconds=181))}, {"daemon/dagster-daemon": Severity.ERROR}),
    ],
)
def test_a_rule_finds_what_is_beyond_its_bound(facts: dict[str, Any], expected: dict[str, Severity]) -> None:
    found, _ = judge(Facts(NOW, **facts), SETTINGS)
    assert {one.key: one.severity for one in found} == expected


def test_what_was_not_looked_at_is_not_judged() -> None:
    assert judge(Facts(NOW), SETTINGS) == ([], frozenset())
    _, judged = judge(Facts(NOW, disks=[]), SETTINGS)
    assert judged == {"disk"}


def test_warnings_can_be_left_out() -> None:
    settings = load_settings(_env_file=None, alert_least_severity="error")
    found, _ = judge(Facts(NOW, streams=[status("gold", Observed.STALLED), status("silver", Observed.BROKEN)]), settings)
    assert [one.key for one in found] == ["stream/silver"]


def test_every_rule_has_its_entry_in_the_runbook() -> None:
    page = (PROJECT_ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    assert {rule.runbook for rule in RULES} - set(headings) == set()
    assert runbook_link("lag", SETTINGS) == "docs/operations.md#lag"
    assert anchor("The local stack, disk, Java") == "the-local-stack-disk-java"


def test_a_link_leads_to_the_page_where_there_is_one() -> None:
    settings = load_settings(_env_file=None, runbook_url="https://docs.example.com/operations/")
    assert runbook_link("dead_letters", settings) == "https://docs.example.com/operations/#dead-letters"


def test_the_page_of_alerts_lists_every_rule_and_its_settings() -> None:
    page = (PROJECT_ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.*?) \|", page, flags=re.MULTILINE)
    listed = {name: (sentence, re.findall(r"`RTAP_(\w+)`", settings)) for name, sentence, settings in rows}
    expected = {rule.name: (rule.sentence, [name.upper() for name in rule.settings]) for rule in RULES}
    assert listed == expected
    assert set(re.findall(r"`RTAP_(\w+)`", page)) <= {name.upper() for name in Settings.model_fields} | {"ALERT_KEY"}
    assert {
        name for name in Settings.model_fields if name.startswith("alert_") and f"RTAP_{name.upper()}" not in page
    } == set()
