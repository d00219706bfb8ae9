"""The check `stream_state`: what it says of each state, and until when."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest
from fake_host import NOON, FakeClient, host_over, status

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.assets.layers import layer_assets
from rtap_assets.assets.stream_state import state_evaluation, state_line, stream_state
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.streaming.model.states import Desired, FailureNote, Observed

PASSED, WARNED, FAILED = "passed", "warned", "failed"
EXPECTED = {
    (Desired.RUNNING, Observed.RUNNING): PASSED,
    (Desired.STOPPED, Observed.STOPPED): PASSED,
} | {(desired, observed): FAILED for desired in Desired for observed in (Observed.BROKEN, Observed.REFUSED)}


@pytest.mark.parametrize("observed", Observed)
@pytest.mark.parametrize("desired", Desired)
def test_only_what_is_as_desired_passes_and_only_what_needs_a_person_is_an_error(
    desired: Desired, observed: Observed
) -> None:
    verdict = state_evaluation(status(observed=observed, desired=desired))
    how = (
        PASSED
        if verdict.passed
        else {dg.AssetCheckSeverity.WARN: WARNED, dg.AssetCheckSeverity.ERROR: FAILED}[verdict.severity]
    )
    assert how == EXPECTED.get((desired, observed), WARNED)


def test_a_result_carries_when_it_was_observed_and_until_when_to_believe_it() -> None:
    evaluation = state_evaluation(status("silver"))
    assert evaluation.asset_key == ASSET_OF_STREAM["silver"]
    assert evaluation.metadata["observed at"].value == NOON.timestamp()
    assert evaluation.metadata["valid until"].value == (NOON + timedelta(seconds=60)).timestamp()
    assert "valid until 2026-03-01 12:01:00Z; after that, read it as UNKNOWN" in str(evaluation.description)


def test_cause_and_next_step_are_shown() -> None:
    note = FailureNote("catalog_locked", "The catalog is locked.", NOON, "End the process that holds it.")
    verdict = state_evaluation(status(observed=Observed.BROKEN, failures=5, last_error=note))
    assert "The catalog is locked. End the process that holds it." in str(verdict.description)
    assert verdict.metadata["last error"].value == "catalog_locked: The catalog is locked."
    assert verdict.metadata["next step"].value == "End the process that holds it."


def test_what_is_not_known_is_left_out_and_never_zero() -> None:
    assert state_evaluation(status(lag_records=0)).metadata["lag (records)"].value == 0
    assert "lag (records)" not in state_evaluation(status(lag_records=None)).metadata


def test_an_unknown_state_does_not_claim_to_know_what_is_desired() -> None:
    unknown = status(desired=Desired.STOPPED).as_unknown(reason="The host is frozen.", now=NOON)
    verdict = state_evaluation(unknown)
    assert "desired" not in verdict.metadata
    assert "desired" not in str(verdict.description)
    assert "The host is frozen." in str(verdict.description)
    assert state_line(unknown) == "bronze unknown"


def test_a_line_says_what_a_stream_waits_for() -> None:
    waiting = status("silver", Observed.WAITING, waiting_for="registry")
    assert state_line(waiting) == "silver waiting for registry (desired running)"


def test_the_check_may_be_executed_by_hand_and_asks_the_host_then() -> None:
    definitions = dg.Definitions(
        assets=layer_assets(Settings()),
        asset_checks=[stream_state],
        resources={"settings": Settings(), "streams": host_over(FakeClient())},
    ).resolve_implicit_global_asset_job_def()
    selection = set(definitions.asset_layer.asset_graph.asset_check_keys)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.get_subset(asset_selection=set(), asset_check_selection=selection).execute_in_process(
            instance=instance
        )
    found = {evaluation.asset_key: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert found == {ASSET_OF_STREAM[name]: True for name in STREAM_NAMES}
