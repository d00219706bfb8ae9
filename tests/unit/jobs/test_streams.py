"""The jobs that command the streams, and the assets that drain: what they ask of the host, what their runs say."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from fake_host import FakeClient, host_over

from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.errors import StreamError
from rtap_assets.jobs.streams import STREAM_JOBS, StreamName, drain_streams, start_streams, stop_streams

EACH_JOB = pytest.mark.parametrize("job", STREAM_JOBS, ids=lambda job: job.name)


def run(job: dg.JobDefinition, client: FakeClient, *, streams: list[str] | None = None) -> dg.ExecuteInProcessResult:
    config = {"ops": {action_of(job): {"config": {"streams": streams}}}} if streams is not None else None
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            run_config=config, instance=instance, resources={"streams": host_over(client)}, raise_on_error=False
        )


def action_of(job: dg.JobDefinition) -> str:
    return job.name.removesuffix("_streams")


def failure_of(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, Any]]:
    (event,) = (event for event in result.all_node_events if event.is_step_failure)
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description), {name: value.value for name, value in data.metadata.items()}


def test_the_launchpad_offers_the_streams_that_exist() -> None:
    assert [name.value for name in StreamName] == [name.name for name in StreamName] == list(STREAM_NAMES)


@EACH_JOB
def test_a_job_is_for_all_streams_by_default(job: dg.JobDefinition) -> None:
    client = FakeClient()
    assert run(job, client).success
    assert [stream for asked, stream in client.asked if asked == action_of(job)] == list(STREAM_NAMES)
    assert job.run_config["ops"][action_of(job)]["config"] == {"streams": list(STREAM_NAMES)}  # type: ignore[index]


@EACH_JOB
def test_a_job_explains_its_configuration(job: dg.JobDefinition) -> None:
    config = job.get_node_named(action_of(job)).definition.config_schema.config_type  # type: ignore[union-attr]
    assert "Which streams" in config.fields["streams"].description  # type: ignore[attr-defined, operator]
    assert job.description


def test_the_streams_that_are_chosen_are_asked_at_once_in_the_order_of_the_flow() -> None:
    client = FakeClient()
    assert run(start_streams, client, streams=["silver", "bronze"]).success
    assert client.asked == [("start", "bronze"), ("start", "silver"), ("wait", "bronze"), ("wait", "silver")]


def test_drains_follow_one_another_since_each_ends_where_the_next_must_read_to() -> None:
    client = FakeClient()
    assert run(drain_streams, client, streams=["gold", "silver"]).success
    assert client.asked == [("drain", "silver"), ("wait", "silver"), ("drain", "gold"), ("wait", "gold")]


def test_the_steps_of_each_stream_are_in_the_log_of_the_run() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = stop_streams.execute_in_process(instance=instance, resources={"streams": host_over(FakeClient())})
        lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert [line for line in lines if line.startswith(("stream host", "bronze:", "gold:"))] == [
        "stream host adopted",
        "bronze: done",
        "gold: done",
        "bronze: stop proven",
        "gold: stop proven",
    ]


def test_a_failure_names_every_cause_and_next_step_and_the_other_streams_are_done() -> None:
    failing = {
        "bronze": StreamError("the broker is away", remedy="Start it."),
        "gold": StreamError("the breaker is open", remedy="Look at its cause."),
    }
    client = FakeClient(failing=failing)
    result = run(start_streams, client)
    assert not result.success
    description, metadata = failure_of(result)
    assert "bronze: the broker is away" in description
    assert "gold: the breaker is open" in description
    assert metadata == {"next step": "Start it. Look at its cause."}
    assert [stream for asked, stream in client.asked if asked == "wait"] == list(STREAM_NAMES)
    assert not [asked for asked in client.asked if asked[0] == "cancel"]


def test_an_interrupted_run_cancels_what_has_not_ended() -> None:
    client = FakeClient(interruption=DagsterExecutionInterruptedError())
    with pytest.raises(DagsterExecutionInterruptedError), dg.DagsterInstance.ephemeral() as instance:
        start_streams.execute_in_process(
            run_config={"ops": {"start": {"config": {"streams": ["bronze", "dlq"]}}}},
            instance=instance,
            resources={"streams": host_over(client)},
        )
    assert client.asked == [
        ("start", "bronze"),
        ("start", "dlq"),
        ("wait", "bronze"),
        ("cancel", "dlq"),
        ("cancel", "bronze"),
    ]


def test_nothing_chosen_is_a_mistake_and_not_a_success() -> None:
    client = FakeClient()
    assert not run(start_streams, client, streams=[]).success
    assert client.asked == []
