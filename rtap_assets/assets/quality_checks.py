"""The data-quality checks as asset checks, evaluated by the pass over the lake.

One function per table for the pass, so that the blocking checks of a layer run before the layer below it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, TABLES, TableSpec
from rtap_assets.errors import RtapError
from rtap_assets.quality.catalog import PASS_CHECKS, CheckSpec, DqResult, Outcome, Severity
from rtap_assets.quality.full_pass import run_checks
from rtap_assets.serving.offset_gaps import explain_gaps
from rtap_assets.streaming.checkpoints.files import stream_positions

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
    """Send the results to the topic and the topic to the table; return the error, so that the verdicts are shown first."""
    try:
        # Imported when published: the registry's client takes half a second, which every run and the code server would pay.
        from rtap_assets.quality.archive import archive_results  # noqa: PLC0415
        from rtap_assets.quality.results_topic import DqPublisher  # noqa: PLC0415

        DqPublisher(settings).publish(results)
        archive_results(settings)
    except RtapError as error:
        context.log.warning(f"the verdicts are not in {settings.topic_dq}: {error}")
        return error
    return None


def check_result(result: DqResult) -> dg.AssetCheckResult:
    """Return a result as its run shows it."""
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "observed": dg.MetadataValue.float(result.observed),
        "threshold": dg.MetadataValue.float(result.threshold),
        "rows checked": dg.MetadataValue.int(result.rows_checked),
        "rows failed": dg.MetadataValue.int(result.rows_failed),
        "measured at": dg.MetadataValue.timestamp(result.measured_at),
        "outcome": dg.MetadataValue.text(result.outcome.value),
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
    return dg.AssetCheckResult(
        asset_key=asset_key(result.table_name),
        check_name=result.check_name,
        passed=passed,
        severity=severity,
        description=description,
        metadata=metadata,
    )


CHECKED_TABLES = [spec for spec in TABLES if any(check.spec is spec for check in PASS_CHECKS)]
QUALITY_CHECKS = [_pass_over(spec) for spec in CHECKED_TABLES]
