"""What the demo's pipeline made of its events, read from lake, marts and progress: figures only, no text."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.serving.connection import open_lake

FAILED_CHECKS = """SELECT check_name, severity, observed, threshold
    FROM (FROM quality QUALIFY row_number() OVER (PARTITION BY table_name, check_name ORDER BY measured_at DESC) = 1)
    WHERE NOT passed ORDER BY severity, check_name"""
REVENUE = """SELECT plan_tier, currency, sum(net_amount), sum(orders)::BIGINT
    FROM marts.tumbling_revenue GROUP BY ALL"""
QUARANTINED = "SELECT reason, records, explanation FROM marts.dlq_by_reason ORDER BY records DESC, reason"
LAYERS = """SELECT stream, sum(input_rows)::BIGINT, sum(input_rows) / nullif(sum(batch_seconds), 0), median(batch_seconds)
    FROM stream_progress WHERE input_rows > 0 GROUP BY stream"""


class Layer(NamedTuple):
    """What one stream read: rows, rows per second while it worked, and the median duration of a micro-batch."""

    name: str
    rows: int
    rows_per_second: float
    batch_seconds: float


class TierRevenue(NamedTuple):
    """Net revenue of one plan tier in one currency, over all tumbling windows."""

    plan_tier: str
    currency: str
    net_amount: Decimal
    orders: int


class Quarantined(NamedTuple):
    """Records quarantined for one reason, and what it means."""

    reason: str
    records: int
    explanation: str


class FailedCheck(NamedTuple):
    """A data-quality check whose newest result is above its threshold."""

    name: str
    severity: str
    observed: float
    threshold: float


@dataclass(frozen=True)
class Outcome:
    """Figures of a finished demo. Latencies are from the broker's timestamp to silver's micro-batch, seconds."""

    layers: tuple[Layer, ...]
    latency_p50_seconds: float
    latency_p99_seconds: float
    revenue: tuple[TierRevenue, ...]
    windows: int
    provisional_windows: int
    quarantined: tuple[Quarantined, ...]
    checks: int
    failed_checks: tuple[FailedCheck, ...]


def read_outcome(settings: Settings) -> Outcome:
    """Return the figures of the lake and the marts as they are.

    Raises:
        ServingError: the lake or the marts cannot be read.
    """
    with open_lake(settings) as connection:
        layers = {row[0]: Layer(*row) for row in connection.execute(LAYERS).fetchall()}
        ((p50, p99),) = _rows(
            connection,
            "SELECT coalesce(max(p50_ms), 0) / 1000, coalesce(max(p99_ms), 0) / 1000 FROM marts.latency_percentiles "
            "WHERE latency = 'processing' AND hour IS NULL",
        )
        ((windows, provisional),) = _rows(
            connection,
            "SELECT count(DISTINCT window_start), count(DISTINCT window_start) FILTER (WHERE status = 'provisional') "
            "FROM marts.tumbling_revenue",
        )
        ((checks,),) = _rows(connection, "SELECT count(DISTINCT (table_name, check_name)) FROM quality")
        return Outcome(
            layers=tuple(layers[name] for name in STREAM_NAMES if name in layers),
            latency_p50_seconds=p50,
            latency_p99_seconds=p99,
            revenue=tuple(TierRevenue(*row) for row in _rows(connection, REVENUE)),
            windows=windows,
            provisional_windows=provisional,
            quarantined=tuple(Quarantined(*row) for row in _rows(connection, QUARANTINED)),
            checks=checks,
            failed_checks=tuple(FailedCheck(*row) for row in _rows(connection, FAILED_CHECKS)),
        )


def _rows(connection: duckdb.DuckDBPyConnection, statement: str) -> list[tuple[Any, ...]]:
    return connection.execute(statement).fetchall()
