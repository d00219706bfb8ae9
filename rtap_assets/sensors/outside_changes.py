"""The sensor `outside_changes`: what changed without a run or a stream of ours: topics, and marts refreshed from the shell.

Topics are observed (records, ends) at most once per roll-up interval and when they have moved. Marts appear as materialized
once their file is newer than what Dagster knows; a refresh by a run has its own materialization by then.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from rtap_assets.assets.keys import REVENUE_PARQUET, data_key, mart_key
from rtap_assets.assets.marts import REFRESHED_AT, VERSION, found_marts, published_version, refreshed_at
from rtap_assets.config import Settings
from rtap_assets.contracts.topics import DLQ_TOPIC, TOPICS, Topic
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.topics import beginning_offsets, end_offsets, has_topic
from rtap_assets.resources.marts import Marts
from rtap_assets.sensors.checkpoint_progress import newest_metadata
from rtap_assets.sensors.instance import instance_of
from rtap_assets.serving.marts import MARTS

INTERVAL_SECONDS = 60
RUN_REPORTS = timedelta(seconds=60)  # within this time of its swap a run has reported its refresh
OBSERVED_TOPICS = tuple(topic for topic in TOPICS if topic is not DLQ_TOPIC)  # the sensor dlq_lag observes that one


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Observes the topics that have moved, at most once in RTAP_PROGRESS_ROLLUP_SECONDS, and reports marts and "
    "Parquet folder as materialized when they were refreshed outside Dagster (`rtap marts refresh`).",
)
def outside_changes(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], marts: Marts
) -> dg.SensorResult:
    """Look once; what has not moved costs a look at the file and at the ends of the topics."""
    now, cursor = datetime.now(UTC), json.loads(context.cursor or "{}")
    events: list[dg.AssetMaterialization | dg.AssetObservation] = []
    found, seen_marts = marts_due(instance_of(context), settings, marts, cursor.get("marts"), now=now)
    events += found
    trouble, topics = "", cursor.get("topics", {})
    try:
        observed, topics = topics_due(settings, topics, now=now)
        events += observed
    except DependencyUnavailable as error:
        trouble = f"{error} The topics are looked at later."
    names = ", ".join(event.asset_key.to_user_string() for event in events)
    reason = " ".join(part for part in (f"reported {names}" if names else "nothing has changed", trouble) if part)
    return dg.SensorResult(
        asset_events=events, cursor=json.dumps({"marts": seen_marts, "topics": topics}), skip_reason=reason
    )


def marts_due(
    instance: dg.DagsterInstance, settings: Settings, marts: Marts, seen: str | None, *, now: datetime
) -> tuple[list[dg.AssetMaterialization], str | None]:
    """Return a materialization per mart, and of the Parquet folder, that Dagster does not know; and the mark of the file."""
    try:
        modified = settings.marts_path.stat().st_mtime_ns
    except FileNotFoundError:
        return [], seen
    if str(modified) == seen or now - datetime.fromtimestamp(modified / 1e9, UTC) < RUN_REPORTS:
        return [], seen
    with marts.get_connection() as connection:
        known = newest_metadata(instance, mart_key(MARTS[0].name)).get(REFRESHED_AT)
        is_known = known is not None and float(str(known.value)) >= refreshed_at(connection).timestamp() - 0.001
        events = [] if is_known else list(found_marts(connection, settings))
    version = published_version(settings)
    known_version = newest_metadata(instance, REVENUE_PARQUET).get(VERSION)
    if not is_known and version is not None and (known_version is None or known_version.value != version):
        text = "Published outside Dagster."
        metadata: dict[str, Any] = {VERSION: version, "folder": dg.MetadataValue.path(str(settings.export_dir / "current"))}
        events.append(dg.AssetMaterialization(REVENUE_PARQUET, description=text, metadata=metadata))
    return events, str(modified)


def topics_due(
    settings: Settings, before: Mapping[str, Any], *, now: datetime
) -> tuple[list[dg.AssetObservation], dict[str, Any]]:
    """Return an observation per topic that has moved and is due, and what was observed of each and when.

    Raises:
        DependencyUnavailable: the broker did not answer.
    """
    events, after = [], dict(before)
    for topic in OBSERVED_TOPICS:
        name, last = topic.name_in(settings), before.get(topic.asset)
        if last is not None and now - datetime.fromisoformat(last["at"]) < timedelta(
            seconds=settings.progress_rollup_seconds
        ):
            continue
        if not has_topic(settings, name):
            continue
        end = sum(end_offsets(settings, name).values())
        if last is not None and last["end"] == end:
            continue
        begin = sum(beginning_offsets(settings, name).values())
        events.append(_observation(topic, name, begin=begin, end=end, last=last, now=now))
        after[topic.asset] = {"end": end, "at": now.isoformat()}
    return events, after


def _observation(
    topic: Topic, name: str, *, begin: int, end: int, last: Mapping[str, Any] | None, now: datetime
) -> dg.AssetObservation:
    metadata: dict[str, Any] = {"topic": name, "offsets kept": end - begin, "end offset, all Kafka partitions": end}
    if last is not None:
        seconds = (now - datetime.fromisoformat(last["at"])).total_seconds()
        metadata["offsets per second"] = round((end - last["end"]) / max(seconds, 1.0), 2)
    description = f"{end:,} offsets were written so far, {end - begin:,} of them are kept."
    return dg.AssetObservation(data_key(topic), description=description, metadata=metadata)
