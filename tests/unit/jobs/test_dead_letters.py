"""The job and the command that judge quarantined rows again: what they ask of the host, and what they report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
import pytest
from fake_host import NO_SPARK, FakeClient, host_over

from rtap_assets.commands.dlq.rejudge import report_lines
from rtap_assets.contracts.selection import Selection
from rtap_assets.errors import ConfigurationError
from rtap_assets.jobs.dead_letters import rejudge_dead_letters
from rtap_assets.streaming.model.operation import Action, Operation, OperationState

CHANGES = [{"from": "null_key", "to": "null_key", "rows": 3}, {"from": "unknown_region", "to": "valid", "rows": 1_200}]
REPORT = {"correction_id": "c", "judged": 1_203, "changed": 1_200, "changes": CHANGES, "added": 1_199}


@dataclass
class JudgingClient(FakeClient):
    """A host that judges at once."""

    arguments: list[Mapping[str, Any]] = field(default_factory=list)

    def submit_for_tables(self, action: str, arguments: Mapping[str, Any] | None = None) -> Operation:
        self.arguments.append(arguments or {})
        return Operation("op", "tables", Action(action))

    def wait(self, operation: Operation, *, echo: Callable[[str], None]) -> Operation:
        if operation.action is not Action.REJUDGE:
            return super().wait(operation, echo=echo)
        applied = self.arguments[-1]["apply"]
        return replace(operation, state=OperationState.SUCCEEDED, result=REPORT if applied else REPORT | {"added": 0})


def run(client: JudgingClient, **config: Any) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return rejudge_dead_letters.execute_in_process(
            run_config={"ops": {"judge_again": {"config": config}}},
            instance=instance,
            resources={"streams": host_over(client), "spark": NO_SPARK},
            raise_on_error=False,
        )


def test_the_job_is_a_dry_run_by_default_and_moves_nothing() -> None:
    client = JudgingClient()
    assert run(client).success
    assert (client.arguments[0]["apply"], Selection.from_json(client.arguments[0]["selection"])) == (False, Selection())
    assert client.asked == []


def test_the_job_judges_what_is_chosen_brings_gold_up_to_date_and_says_who_asked() -> None:
    client = JudgingClient()
    done = run(client, apply=True, reasons=["unknown_region"], since="2026-03-01T00:00:00+00:00", limit=5)
    assert done.success
    asked = client.arguments[0]
    assert asked["selection"]["reasons"] == ["unknown_region"]
    assert asked["selection"]["limit"] == 5
    assert asked["requested_by"] == f"run {done.run_id}"
    assert ("drain", "gold") in client.asked
    (output,) = (event for event in done.all_node_events if event.is_successful_output)
    metadata = output.step_output_data.metadata
    assert metadata["events added to silver"].value == 1_199
    assert metadata["from → to"].value.splitlines()[-1] == "| unknown&#95;region | valid | 1,200 |"


@pytest.mark.parametrize("config", [{"reasons": ["nothing"]}, {"since": "2026-03-01"}])
def test_a_selection_that_means_nothing_fails_with_the_next_step(config: dict[str, Any]) -> None:
    client = JudgingClient()
    assert not run(client, **config).success
    assert client.arguments == []


def test_the_command_says_from_what_to_what_and_that_a_dry_run_is_one() -> None:
    dry = report_lines(REPORT, applied=False)
    assert dry[0].split() == ["from", "to", "rows"]
    assert dry[-1] == "dry run: 1,200 rows would have a new verdict; --yes writes them"
    assert report_lines(REPORT, applied=True)[-1] == "1,200 rows have a new verdict, 1,199 events were added to silver"
    assert report_lines(REPORT | {"changes": []}, applied=False)[0] == "no quarantined row is selected"


def test_a_time_needs_a_zone() -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        Selection.from_json({"since": "2026-03-01"})
