"""`rtap alerts` at the widths of terminals: what is open, the rules, the channels and a test of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from alert_receivers import web_receiver
from click.testing import CliRunner, Result
from fake_host import NOON as NOW

from rtap_assets.alerts.model import CheckFact, Facts, Severity
from rtap_assets.alerts.rules import RULES
from rtap_assets.alerts.store import AlertStore
from rtap_assets.commands.alerts import alerts
from rtap_assets.config import Settings, load_settings

SENTENCE = "observed 42 rows of the newest snapshot that repeat a key, more than the threshold 0: " * 3


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, state_dir=tmp_path / ".rtap", alert_hold_seconds=0, alert_group_seconds=0)


def run(settings: Settings, *arguments: str, columns: int = 80) -> Result:
    return CliRunner().invoke(alerts, arguments, obj=settings, env={"COLUMNS": str(columns)})


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_open_alerts_and_rules_fit_the_terminal(settings: Settings, columns: int) -> None:
    failed = CheckFact("gold.revenue_5m", "gold_equals_silver", False, Severity.ERROR, SENTENCE)
    AlertStore(settings).look(Facts(NOW, checks=[failed]), channels=[])
    listed, rules = run(settings, "list", columns=columns).output, run(settings, "list", "--rules", columns=columns).output
    assert "error  check/gold.revenue_5m gold_equals_silver" in listed
    assert all(f"{rule.name}\n" in rules for rule in RULES)
    assert max(len(line) for line in [*listed.splitlines()[1:], *rules.splitlines()]) <= max(columns, 70)


def test_a_channel_shows_what_waits_and_why(settings: Settings) -> None:
    with web_receiver() as receiver:
        receiver.answers = [500]
        own = settings.model_copy(update={"alert_webhooks": load_settings(alert_webhooks=receiver.url).alert_webhooks})
        failed, again = run(own, "test"), run(own, "test")
    assert (failed.exit_code, again.exit_code) == (1, 0)
    assert "answered 500" in failed.output
    assert "delivered" in again.output
    status = run(own, "status")
    assert (status.exit_code, "0 waiting, 0 given up, nothing was delivered yet" in status.output) == (0, True)
    assert all("s3cret-part" not in one.output for one in (failed, again, status))


def test_without_a_channel_the_test_fails_and_says_what_to_set(settings: Settings) -> None:
    assert run(settings, "test").exit_code == 1
    assert "sent nowhere" in " ".join(run(settings, "status").output.split())
