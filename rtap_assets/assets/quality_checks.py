"""The data-quality checks as asset checks: the pass over the lake, and what the streams measured of themselves.

One function per table for the pass, so that the blocking checks of a layer run before the layer below it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from rtap_assets.assets.metadata import as_check_result
from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, TABLES, TableSpec
from rtap_assets.errors import RtapError
from rtap_assets.quality.archive import archive_results
from rtap_assets.quality.catalog import PASS_CHECKS, STREAM_CHECKS, Check, DqResult, Outcome, Severity
from rtap_assets.quality.full_pass import run_checks
from rtap_assets.quality.results_topic import DqPublisher, newest_results
from rtap_assets.quality.rollup import RollUp, roll_up
from rtap_assets.serving.offset_gaps import explain_gaps
from rtap_assets.streaming.checkpoints.files import stream_positions

SEVERITIES = {Severity.WARN: dg.AssetCheckSeverity.WARN, Severity.ERROR: dg.AssetCheckSeverity.ERROR}
# How many of the newest messages a hand-started check of the streams looks through, per Kafka partition.
NEWEST_MESSAGES = 2_000


def asset_key(table_name: str) -> dg.AssetKey:
    """The asset of a table: `silver.sales_events` is `silver/sales_events`."""
    return dg.AssetKey(table_name.split("."))


def check_spec(check: Check) -> dg.AssetCheckSpec:
    """The check as Dagster lists it."""
    return dg.AssetCheckSpec(
        check.name,
        asset=asset_key(check.spec.identifier),
        description=f"{check.sentence} Threshold: RTAP_{check.threshold_setting.upper()}.",
        blocking=check.blocking,
        metadata={"severity": str(check.severity), "measured": str(check.source)},
    )


def _pass_over(spec: TableSpec) -> dg.AssetChecksDefinition:
    checks = [check for check in PASS_CHECKS if check.spec is spec]

    @dg.multi_asset_check(
        specs=[check_spec(check) for check in checks],
        name=f"{spec.namespace}_quality",
        can_subset=True,
        description=f"Exact checks of {spec.identifier} over the newest snapshots; the results also go to the topic.",
    )
    def check_table(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.AssetCheckResult]:
        now = datetime.now(UTC)
        wanted = {key.name for key in context.selected_asset_check_keys}
        positions = stream_positions(settings.checkpoint_dir, topic=settings.topic_events)
        if spec is BRONZE and "conservation" in wanted:
            for missing in explain_gaps(settings, positions=positions).unexplained:
                context.log.warning(f"missing and not explained: {missing}")
        results = run_checks(
            settings,
            positions=positions,
            now=now,
            lookback_hours=settings.dq_lookback_hours,
            checks=[check for check in checks if check.name in wanted],
        )
        trouble = _published(context, settings, results, now=now)
        yield from (check_result(result) for result in results)
        if trouble is not None:
            raise trouble

    return check_table


def _published(
    context: dg.AssetCheckExecutionContext, settings: Settings, results: Sequence[DqResult], *, now: datetime
) -> RtapError | None:
    """Send the results to the topic and the topic to the table. A failure must not keep the verdicts from being shown."""
    try:
        DqPublisher(settings).publish(results)
        appended = archive_results(settings)
    except RtapError as error:
        context.log.warning(f"the verdicts are not in {settings.topic_dq}: {error}")
        return error
    context.log.info(f"{len(results)} results published, {appended} copied into quality.dq_results")
    return None


def check_result(result: DqResult) -> dg.AssetCheckResult:
    """A single result as the run shows it that asked for it."""
    (rolled,) = roll_up({}, [result]).values()
    snapshot = {} if result.snapshot_id is None else {"snapshot id": dg.MetadataValue.text(str(result.snapshot_id))}
    return as_check_result(rolled_evaluation(rolled), more=snapshot)


def rolled_evaluation(rolled: RollUp) -> dg.AssetCheckEvaluation:
    """A roll-up as an event without a run."""
    verdict = "at most" if rolled.passed else "more than"
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "observed": dg.MetadataValue.float(rolled.observed),
        "threshold": dg.MetadataValue.float(rolled.threshold),
        "rows checked": dg.MetadataValue.int(rolled.rows_checked),
        "rows failed": dg.MetadataValue.int(rolled.rows_failed),
        "measured at": dg.MetadataValue.timestamp(datetime.fromisoformat(rolled.last_at)),
    }
    if rolled.evaluations > 1:
        metadata |= {
            "micro-batches": dg.MetadataValue.int(rolled.evaluations),
            "micro-batches over the threshold": dg.MetadataValue.int(rolled.failed_evaluations),
            "since": dg.MetadataValue.timestamp(datetime.fromisoformat(rolled.first_at)),
        }
    metadata["outcome"] = dg.MetadataValue.text(rolled.outcome.value)
    if rolled.outcome is Outcome.NOTHING_TO_CHECK:
        # A warning, which blocks nothing: a green mark would say that something was found right.
        return dg.AssetCheckEvaluation(
            asset_key=asset_key(rolled.table_name),
            check_name=rolled.check_name,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description="nothing to check yet: there is no row, window or interval to look at",
            metadata=metadata,
        )
    if rolled.detail:
        metadata["detail"] = dg.MetadataValue.json(rolled.detail)
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(rolled.table_name),
        check_name=rolled.check_name,
        passed=rolled.passed,
        severity=SEVERITIES[Severity(rolled.severity)],
        description=f"observed {rolled.observed:.6g}, {verdict} the threshold {rolled.threshold:g}",
        metadata=metadata,
    )


@dg.multi_asset_check(
    specs=[check_spec(check) for check in STREAM_CHECKS],
    name="stream_quality",
    can_subset=True,
    description="The newest result of each check that the streams measure in their batches. The sensor dq_results renews "
    "them; this looks at once.",
)
def stream_quality(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.AssetCheckResult]:
    newest = {(one.table_name, one.check_name): one for one in newest_results(settings, per_partition=NEWEST_MESSAGES)}
    wanted = {(".".join(key.asset_key.path), key.name) for key in context.selected_asset_check_keys}
    for table_name, check_name in sorted(wanted):
        result = newest.get((table_name, check_name))
        if result is not None:
            yield check_result(result)
        else:
            yield dg.AssetCheckResult(
                asset_key=asset_key(table_name),
                check_name=check_name,
                passed=False,
                severity=dg.AssetCheckSeverity.WARN,
                description="nothing to check yet: no stream has committed a batch lately",
            )


TABLE_CHECKS = [_pass_over(spec) for spec in TABLES]
QUALITY_CHECKS = [*TABLE_CHECKS, stream_quality]
