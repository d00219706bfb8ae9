"""The platform's facts as Dagster metadata: columns, source offsets, watermarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import Column
from rtap_assets.runtime.clock import EPOCH, from_milliseconds


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Return the contract's columns as Dagster shows them."""
    return dg.TableSchema([dg.TableColumn(column.name, column.type, description=column.doc) for column in columns])


def freshness_policy(settings: Settings) -> dg.FreshnessPolicy:
    """Return for how long a layer or mart may go without a materialization; the roll-up of a running stream is one."""
    return dg.FreshnessPolicy.time_window(
        fail_window=timedelta(minutes=settings.freshness_fail_minutes),
        warn_window=timedelta(minutes=settings.freshness_warn_minutes),
    )


def as_check_result(evaluation: dg.AssetCheckEvaluation, *, more: Mapping[str, Any] | None = None) -> dg.AssetCheckResult:
    """Return the same verdict as the result of a run, with the metadata `more`."""
    return dg.AssetCheckResult(
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        passed=evaluation.passed,
        severity=evaluation.severity,
        description=evaluation.description,
        metadata={**evaluation.metadata, **(more or {})},
    )


def source_offsets(position: Mapping[str, Any] | None) -> dg.JsonMetadataValue:
    """Return a stream's position in its source: the next offset of each Kafka partition, or a snapshot and its files read.

    A snapshot id is shown as text: it exceeds 2^53, and a browser would round the number.
    """
    position = position or {}
    if "snapshot_id" in position:
        return dg.MetadataValue.json({"snapshot id": str(position["snapshot_id"]), "files read": position["position"]})
    return dg.MetadataValue.json(dict(position))


def watermark(instant: datetime | None) -> dg.MetadataValue[Any]:
    """Return a watermark; it first moves with the second micro-batch of a stream, and is the epoch until then."""
    if instant is None or instant <= EPOCH:
        return dg.MetadataValue.text("none yet")
    return dg.MetadataValue.timestamp(instant)


def instant_of(milliseconds: int | None) -> datetime | None:
    """Return milliseconds since the epoch as an instant, without a detour over floats."""
    return None if milliseconds is None else from_milliseconds(milliseconds)
