"""The sensor `alerts`: gathers the facts, notes what changed, delivers what waits. The rules are in `alerts/rules.py`."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus, SensorInstigatorData

from rtap_assets.alerts.delivery import channels_of, deliver
from rtap_assets.alerts.model import CheckFact, DaemonFact, DeadLettersFact, Facts, NewsFact, Severity, TickFact
from rtap_assets.alerts.rooms import disk_facts
from rtap_assets.alerts.store import AlertStore
from rtap_assets.assets.keys import ASSET_OF_STREAM, GOLD_KEY, data_key, mart_key
from rtap_assets.assets.marts import MART_CHECKS
from rtap_assets.assets.quality_checks import OUTCOME, asset_key, newest_evaluations
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_SPECS
from rtap_assets.contracts.topics import DLQ_TOPIC
from rtap_assets.errors import RtapError
from rtap_assets.lake.table_metrics import breaches, table_metrics
from rtap_assets.quality.catalog import PASS_CHECKS, Outcome
from rtap_assets.resources.streams import StreamHost
from rtap_assets.sensors.dlq_lag import LAG_RECORDS, OLDEST
from rtap_assets.sensors.instance import instance_of
from rtap_assets.serving.marts import MARTS
from rtap_assets.streaming.model.states import Desired, StreamStatus

NAME = "alerts"
INTERVAL_SECONDS = 30
TABLES_INTERVAL = timedelta(minutes=15)  # reading their metadata costs more than everything else
SWITCHED_ON = frozenset({InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE})
SEVERITIES = {dg.AssetCheckSeverity.WARN: Severity.WARNING, dg.AssetCheckSeverity.ERROR: Severity.ERROR}


@dg.sensor(
    name=NAME,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares what is so with the rules of alerts and delivers the messages to the channels of RTAP_ALERT_…: "
    "`rtap alerts list` shows what is open, `rtap alerts test` tries the channels.",
)
def alerts_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], streams: StreamHost
) -> dg.SensorResult:
    """Look once and deliver what is due."""
    now, store, channels = datetime.now(UTC), AlertStore(settings), channels_of(settings)
    cursor = json.loads(context.cursor or "{}")
    facts, cursor = gather(instance_of(context), settings, streams.statuses(), cursor=cursor, now=now)
    found = store.look(facts, by=NAME, channels=[channel.label for channel in channels])
    failures = deliver(store, channels)
    for failure in failures:
        context.log.warning(f"not delivered, it is tried again: {failure}")
    open_alerts = f"{len(found)} open: {', '.join(one.key for one in found)}" if found else "no alert is open"
    to = f"{len(channels)} channels" if channels else "no channel is configured (RTAP_ALERT_…)"
    return dg.SensorResult(cursor=json.dumps(cursor), skip_reason="; ".join([open_alerts, to, *failures]))


def gather(
    instance: dg.DagsterInstance,
    settings: Settings,
    statuses: Sequence[StreamStatus],
    *,
    cursor: Mapping[str, Any],
    now: datetime,
) -> tuple[Facts, dict[str, Any]]:
    """Return the facts and the next cursor, which holds when the tables were measured."""
    measured_at = datetime.fromisoformat(cursor["tables_at"]) if "tables_at" in cursor else None
    tables = None
    if measured_at is None or now - measured_at >= TABLES_INTERVAL:
        tables, measured_at = _tables(settings), now
    facts = Facts(
        now,
        streams=statuses,
        checks=_checks(instance),
        news=news_of(_materialized(instance), statuses),
        dead_letters=_dead_letters(instance),
        ticks=_ticks(instance, now=now),
        disks=disk_facts(settings),
        tables=tables,
        daemon=DaemonFact(now),  # it ticks
    )
    return facts, {"tables_at": measured_at.isoformat()}


def news_of(materialized: Mapping[dg.AssetKey, datetime], statuses: Sequence[StreamStatus]) -> list[NewsFact]:
    """Return what is expected to have news: the table of a stream that should run, and a mart once gold has moved on."""
    should_run = {status.name for status in statuses if status.desired is Desired.RUNNING}
    tables = [ASSET_OF_STREAM[spec.name] for spec in STREAM_SPECS if spec.writes is not None and spec.name in should_run]
    found = [NewsFact(key.to_user_string(), materialized[key]) for key in tables if key in materialized]
    gold_at = materialized.get(GOLD_KEY)
    for mart in MARTS:
        key = mart_key(mart.name)
        if gold_at is not None and key in materialized and materialized[key] < gold_at:
            found.append(NewsFact(key.to_user_string(), materialized[key]))
    return found


def _materialized(instance: dg.DagsterInstance) -> dict[dg.AssetKey, datetime]:
    keys = [*ASSET_OF_STREAM.values(), *(mart_key(mart.name) for mart in MARTS)]
    events = instance.get_latest_materialization_events(keys)
    return {key: datetime.fromtimestamp(event.timestamp, UTC) for key, event in events.items() if event is not None}


def _checks(instance: dg.DagsterInstance) -> list[CheckFact]:
    """Return the newest results, of tables and marts; an evaluation that looked at nothing is none."""
    tables = {dg.AssetCheckKey(asset_key(check.spec.identifier), check.name): check.spec.identifier for check in PASS_CHECKS}
    subjects = tables | {spec.key: spec.asset_key.to_user_string() for spec in MART_CHECKS}
    found = []
    for key, evaluation in newest_evaluations(instance, list(subjects)).items():
        outcome = evaluation.metadata.get(OUTCOME)
        if outcome is None or outcome.value != Outcome.NOTHING_TO_CHECK.value:
            text = evaluation.description or ""
            found.append(CheckFact(subjects[key], key.name, evaluation.passed, SEVERITIES[evaluation.severity], text))
    return found


def _dead_letters(instance: dg.DagsterInstance) -> DeadLettersFact | None:
    """Return what the sensor `dlq_lag` observed last; None before its first observation."""
    # The supervisor observes the asset as well, where its stream needs an operator.
    for record in instance.fetch_observations(data_key(DLQ_TOPIC), limit=10).records:
        observation = record.event_log_entry.asset_observation
        metadata = {} if observation is None else observation.metadata
        if LAG_RECORDS in metadata:
            oldest = metadata.get(OLDEST)
            at = None if oldest is None else datetime.fromtimestamp(float(str(oldest.value)), UTC)
            return DeadLettersFact(int(str(metadata[LAG_RECORDS].value)), at)
    return None


def _ticks(instance: dg.DagsterInstance, *, now: datetime) -> list[TickFact]:
    """Return the other sensors that are switched on and have ticked; this one is watched by the stream host."""
    found = []
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR, instigator_statuses=set(SWITCHED_ON)):
        data = state.instigator_data
        if not isinstance(data, SensorInstigatorData) or state.instigator_name == NAME or data.last_tick_timestamp is None:
            continue
        ticked_at = datetime.fromtimestamp(data.last_tick_timestamp, UTC)
        started = data.last_sensor_start_timestamp
        if started is not None:  # switched on again: it has not ticked since, and is not late yet
            ticked_at = max(ticked_at, datetime.fromtimestamp(started, UTC))
        found.append(TickFact(state.instigator_name, float(data.min_interval or INTERVAL_SECONDS), min(ticked_at, now)))
    return found


def _tables(settings: Settings) -> dict[str, list[str]] | None:
    """Return the bounds that each table exceeds; None where the catalog does not answer or there are no tables yet."""
    try:
        return {one.table: breaches(one, settings) for one in table_metrics(settings)}
    except RtapError:
        return None
