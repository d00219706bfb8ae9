"""The data-quality checks as asset checks, evaluated by the pass over the lake.

One function per table for the pass, so that the blocking checks of a layer run before the layer below it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from rtap_assets.assets.metadata import as_check_result
from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, TABLES, TableSpec
from rtap_assets.errors import RtapError
from rtap_assets.quality.catalog import PASS_CHECKS, CheckSpec, DqResult, Outcome, Severity
from rtap_assets.quality.full_pass import run_checks
from rtap_assets.quality.offset_gaps import explain_gaps
from rtap_assets.streaming.checkpoints.files import stream_positions

OUTCOME = "outcome"  # of the metadata
SEVERITIES = {Severity.WARN: dg.AssetCheckSeverity.WARN, Severity.ERROR: dg.AssetCheckSeverity.ERROR}


def asset_key(table_name: str) -> dg.AssetKey:
    """Return the asset key of a table: `silver.sales_events` is `silver/sales_events`."""
    return dg.AssetKey(table_name.split("."))


def check_spec(check: CheckSpec) -> dg.AssetCheckSpec:
    """Return the check as Dagster lists it."""
    return dg.AssetCheckSpec(
        check.name,
        asset=asset_key(check.spec.identifier),
        description=f"{check.sentence} Threshold: RTAP_{check.threshold_setting.upper()}.",
        blocking=check.blocking,
        metadata={"severity": str(check.severity)},
    )


def _pass_over(spec: TableSpec) -> dg.AssetChecksDefinition:
    checks = [check for check in PASS_CHECKS if check.spec is spec]

    @dg.multi_asset_check(
        specs=[check_spec(check) for check in checks],
        name=f"{spec.view}_quality",
        can_subset=True,
        description=f"Exact checks of {spec.identifier} over the newest snapshots; the results also go to the topic.",
    )
    def check_table(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        judged = judge_tables(settings, [check for check in checks if check.name in wanted], warn=context.log.warning)
        yield from (as_check_result(check_evaluation(result)) for result in judged.results)
        if judged.trouble is not None:
            raise judged.trouble

    return check_table


@dataclass(frozen=True)
class Judged:
    """The results of a pass, and why they are not in the topic and the table of results, if they are not."""

    results: list[DqResult]
    trouble: RtapError | None


def judge_tables(settings: Settings, checks: Sequence[CheckSpec], *, warn: Callable[[str], None]) -> Judged:
    """Run these checks over the newest snapshots and publish their results.

    Raises:
        ServingError: the lake cannot be read.
        DependencyUnavailable: broker or catalog did not answer.
    """
    positions = stream_positions(settings.checkpoint_dir, topic=settings.topic_events)
    if any(check.key == (BRONZE.identifier, "conservation") for check in checks):
        for missing in explain_gaps(settings, positions=positions).unexplained:
            warn(f"missing and not explained: {missing}")
    results = run_checks(
        settings, positions=positions, now=datetime.now(UTC), lookback_hours=settings.dq_lookback_hours, checks=checks
    )
    try:
        # Imported when published: the registry's client takes half a second, which every run and the code server would pay.
        from rtap_assets.quality.archive import archive_results  # noqa: PLC0415
        from rtap_assets.quality.results_topic import DqPublisher  # noqa: PLC0415

        DqPublisher(settings).publish(results)
        archive_results(settings)
    except RtapError as error:  # the verdicts are shown first
        warn(f"the verdicts are not in {settings.topic_dq}: {error}")
        return Judged(results, error)
    return Judged(results, None)


def check_evaluation(result: DqResult) -> dg.AssetCheckEvaluation:
    """Return a result as Dagster shows it."""
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "observed": dg.MetadataValue.float(result.observed),
        "threshold": dg.MetadataValue.float(result.threshold),
        "rows checked": dg.MetadataValue.int(result.rows_checked),
        "rows failed": dg.MetadataValue.int(result.rows_failed),
        "measured at": dg.MetadataValue.timestamp(result.measured_at),
        OUTCOME: dg.MetadataValue.text(result.outcome.value),
    }
    if result.snapshot_id is not None:
        metadata["snapshot id"] = dg.MetadataValue.text(str(result.snapshot_id))
    if result.outcome is Outcome.NOTHING_TO_CHECK:
        # A warning, which blocks nothing: a green mark would mean that something was found right.
        passed, severity = False, dg.AssetCheckSeverity.WARN
        description = "nothing to check yet: there is no row, window or interval to look at"
    else:
        passed, severity = result.passed, SEVERITIES[Severity(result.severity)]
        verdict = "at most" if passed else "more than"
        description = f"observed {result.observed:.6g}, {verdict} the threshold {result.threshold:g}"
        if result.detail:
            metadata["detail"] = dg.MetadataValue.json(dict(result.detail))
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(result.table_name),
        check_name=result.check_name,
        passed=passed,
        severity=severity,
        description=description,
        metadata=metadata,
    )


CHECKED_TABLES = [spec for spec in TABLES if any(check.spec is spec for check in PASS_CHECKS)]
QUALITY_CHECKS = [_pass_over(spec) for spec in CHECKED_TABLES]


def newest_evaluations(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey], *, of_runs_only: bool = False
) -> dict[dg.AssetCheckKey, dg.AssetCheckEvaluation]:
    """Return the newest result of each check that has one; a check that a run is to evaluate, or failed to, has none."""
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = {key: record.evaluation for key, record in records.items() if record.run_id or not of_runs_only}
    # Of a planned evaluation, Dagster hands out the plan under the same name.
    return {key: one for key, one in found.items() if isinstance(one, dg.AssetCheckEvaluation)}
