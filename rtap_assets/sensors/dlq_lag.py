"""The sensor `dlq_lag`: observes the dead-letter topic for records past the committed offsets of the review group."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from rtap_assets.assets.keys import data_key
from rtap_assets.config import Settings
from rtap_assets.contracts.topics import DLQ_TOPIC
from rtap_assets.contracts.visible import visible_markdown
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.dlq_review import REVIEW_GROUP, DlqLag, dlq_lag

INTERVAL_SECONDS = 60
# Enough to know the reasons; the number of records is exact whatever it is.
RECORDS_READ = 2_000
REASONS_SHOWN = 12
LONGEST_SILENCE = timedelta(minutes=5)


@dg.sensor(
    name="dlq_lag",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Observes the dead letters past the committed offsets of {REVIEW_GROUP}: how many, for what reasons, how "
    "old the oldest is. `rtap dlq ack` commits them as looked at.",
)
def dlq_lag_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    now = datetime.now(UTC)
    try:
        lag = dlq_lag(settings, limit=RECORDS_READ)
    except DependencyUnavailable as error:
        return dg.SkipReason(f"{error} The lag is read at a later tick.")
    last = json.loads(context.cursor) if context.cursor else {}
    if not is_due(last, lag, now=now, interval=LONGEST_SILENCE):
        return dg.SkipReason(f"{lag.records} records, reported already")
    cursor = json.dumps({"records": lag.records, "at": now.isoformat()})
    return dg.SensorResult(asset_events=[lag_observation(lag, now=now)], cursor=cursor)


def is_due(last: dict[str, Any], lag: DlqLag, *, now: datetime, interval: timedelta) -> bool:
    """At once when there is a first or no unseen record any more; other changes once per interval; else not."""
    if not last or bool(last["records"]) != bool(lag.records):
        return True
    changed = last["records"] != lag.records
    return changed and now - datetime.fromisoformat(last["at"]) >= interval


def lag_observation(lag: DlqLag, *, now: datetime) -> dg.AssetObservation:
    """The lag as Dagster shows it; the age is given as the instant of the oldest, which stays true."""
    metadata: dict[str, Any] = {
        "records not looked at": lag.records,
        "by reason": dg.MetadataValue.json(lag.by_reason),
        "review group": REVIEW_GROUP,
        "observed at": dg.MetadataValue.timestamp(now),
    }
    if lag.read < lag.records:
        metadata["reasons are of the oldest"] = lag.read
    if lag.samples:
        metadata["newest of each reason"] = dg.MetadataValue.md(_samples_table(lag))
    if lag.oldest is not None:
        metadata["oldest"] = dg.MetadataValue.timestamp(lag.oldest)
        metadata["age of the oldest (s)"] = round((now - lag.oldest).total_seconds(), 1)
    description = f"{lag.records} dead letters that are not reviewed" if lag.records else "every dead letter was reviewed"
    return dg.AssetObservation(asset_key=data_key(DLQ_TOPIC), description=description, metadata=metadata)


def _samples_table(lag: DlqLag) -> str:
    """Return a Markdown table of the first reasons with their newest records; what producers wrote is escaped."""
    rows = [
        f"| {visible_markdown(reason)} | {lag.by_reason.get(reason, 0):,} | {visible_markdown(record.source)} "
        f"| {visible_markdown(record.detail or None)} | {record.appended_at:%Y-%m-%d %H:%M:%S} |"
        for reason in list(lag.by_reason)[:REASONS_SHOWN]
        for record in lag.samples.get(reason, [])
    ]
    cut = len(lag.by_reason) - REASONS_SHOWN
    more = ["", f"and {cut} more reasons: `rtap dlq list`"] if cut > 0 else []
    header = ["| reason | records | topic/partition/offset | detail | appended (UTC) |", "|---|---:|---|---|---|"]
    return "\n".join([*header, *rows, *more])
