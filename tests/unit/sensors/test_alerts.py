"""The sensor `alerts`: what it gathers of a Dagster instance, and a tick from the facts to a receiver."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import dagster as dg
from alert_receivers import web_receiver
from fake_host import NOON as NOW
from fake_host import FakeClient, engine_with, host_over, status

from rtap_assets.alerts.host_watch import SENSOR, SENSOR_INTERVAL_SECONDS
from rtap_assets.alerts.model import CheckFact, DeadLettersFact, Severity
from rtap_assets.alerts.rules import judge
from rtap_assets.alerts.store import AlertStore
from rtap_assets.assets.keys import GOLD_KEY, data_key, mart_key
from rtap_assets.assets.marts import MART_CHECKS
from rtap_assets.config import load_settings
from rtap_assets.contracts.topics import DLQ_TOPIC
from rtap_assets.definitions import build_definitions
from rtap_assets.kafka.dlq_review import DlqLag
from rtap_assets.sensors.alerts import INTERVAL_SECONDS, NAME, alerts_sensor, gather, news_of
from rtap_assets.sensors.dlq_lag import lag_observation
from rtap_assets.streaming.model.states import Desired, Observed


def test_host_and_sensor_mean_the_same_by_name_and_interval() -> None:
    assert (SENSOR, SENSOR_INTERVAL_SECONDS) == (NAME, INTERVAL_SECONDS)


def test_the_facts_are_what_the_instance_holds(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, state_dir=tmp_path / ".rtap")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        empty, cursor = gather(instance, settings, [status("gold")], cursor={}, now=NOW)
        assert (empty.checks, empty.dead_letters, empty.tables, empty.ticks) == ([], None, None, [])
        for name, outcome in (("foreign_changes", "failed"), ("freshness", "nothing to check")):
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=GOLD_KEY, check_name=name, passed=False, severity=dg.AssetCheckSeverity.WARN,
                    description="observed 2", metadata={"outcome": outcome},
                )
            )  # fmt: skip
        instance.report_runless_asset_event(
            lag_observation(DlqLag(7, 7, {"too_short": 7}, NOW - timedelta(hours=1)), now=NOW)
        )
        instance.report_runless_asset_event(dg.AssetObservation(data_key(DLQ_TOPIC), metadata={"alert": "dlq broken"}))
        facts, _ = gather(instance, settings, [status("gold")], cursor=cursor, now=NOW + timedelta(seconds=30))
    assert facts.checks == [CheckFact("gold.revenue_5m", "foreign_changes", False, Severity.WARNING, "observed 2")]
    assert facts.dead_letters == DeadLettersFact(7, NOW - timedelta(hours=1))
    assert facts.disks


def test_a_failed_check_of_a_mart_is_a_fact_as_one_of_a_table_is(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, state_dir=tmp_path / ".rtap")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for spec in MART_CHECKS:
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=spec.asset_key, check_name=spec.name, passed=spec is not MART_CHECKS[0], description="2 rows"
                )
            )
        facts, _ = gather(instance, settings, [], cursor={}, now=NOW)
    assert facts.checks is not None
    assert len(facts.checks) == len(MART_CHECKS)
    subject = MART_CHECKS[0].asset_key.to_user_string()
    failed = CheckFact(subject, MART_CHECKS[0].name, False, Severity.ERROR, "2 rows")
    assert [one for one in facts.checks if not one.passed] == [failed]
    conditions, _ = judge(facts, settings)
    assert [one.key for one in conditions] == [f"check/{subject} {MART_CHECKS[0].name}"]


def test_news_are_expected_of_streams_that_should_run_and_of_marts_behind_gold() -> None:
    behind, ahead = mart_key("rolling_revenue"), mart_key("refund_share")
    materialized = {GOLD_KEY: NOW, behind: NOW - timedelta(hours=1), ahead: NOW + timedelta(minutes=1)}
    running = [status("gold"), status("silver")]
    assert {one.asset for one in news_of(materialized, running)} == {"gold/revenue_5m", "marts/rolling_revenue"}
    stopped = [status("gold", Observed.STOPPED, desired=Desired.STOPPED)]
    assert {one.asset for one in news_of(materialized, stopped)} == {"marts/rolling_revenue"}


def test_a_tick_sends_what_needs_an_operator(tmp_path: Path) -> None:
    with web_receiver() as receiver, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        settings = load_settings(
            _env_file=None, state_dir=tmp_path / ".rtap", alert_webhooks=receiver.url, alert_group_seconds=0
        )
        client = FakeClient(engine_with(status("gold", Observed.BROKEN), status("silver")))
        with dg.build_sensor_context(
            instance=instance,
            definitions=build_definitions(settings),
            resources={"settings": settings, "streams": host_over(client)},
        ) as context:
            result = alerts_sensor(context)
    assert isinstance(result, dg.SensorResult)
    assert "stream/gold" in str(result.skip_reason)
    assert [[one["subject"] for one in body["alerts"]] for _, body in receiver.got] == [["gold"]]
    assert "tables_at" in json.loads(str(result.cursor))
    assert AlertStore(settings).looked_at(NAME) is not None
