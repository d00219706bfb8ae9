"""The client of the stream host: what it makes of answers, of silence, of a host that is late, and of none at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from fake_host import NOON, FakeHost, status_now

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.errors import ConfigurationError, DependencyUnavailable, StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.launcher import end_host, ensure_host
from rtap_assets.host.token import ensure_token
from rtap_assets.local.ports import free_port
from rtap_assets.runtime.files import write_json
from rtap_assets.runtime.locks import LOCK_FILE, lock_holder
from rtap_assets.streaming.lifecycle.desired import DESIRED_FILE
from rtap_assets.streaming.model.operation import OperationError, OperationState, Step
from rtap_assets.streaming.model.states import Desired, Observed

# Another process that holds a lock on the file until its standard input ends.
HOLDER = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a token and a port at which nobody listens."""
    own = load_settings(state_dir=tmp_path / ".rtap", streams_port=free_port(), streams_request_timeout_seconds=1)
    ensure_token(own)
    return own


@contextmanager
def held(path: Path) -> Iterator[int]:
    """The file is locked by another process; yields its pid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid


def test_states_are_those_of_the_host(fake_host: FakeHost) -> None:
    assert fake_host.client.statuses() == fake_host.engine.statuses()
    assert fake_host.client.status("gold").name == "gold"
    assert fake_host.client.host().pid == 4711
    assert fake_host.client.progress("gold", limit=2) == [
        {"batch_id": 0, "stream": "gold"},
        {"batch_id": 1, "stream": "gold"},
    ]


def test_an_answer_past_its_valid_until_is_unknown(fake_host: FakeHost) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    fake_host.engine.found["gold"] = status_now("gold", observed=Observed.RUNNING, valid_until=past, last_batch_id=7)
    gold = fake_host.client.status("gold")
    assert (gold.observed, gold.last_batch_id) == (Observed.UNKNOWN, 7)
    assert gold.last_error is not None
    assert "looked at gold last" in gold.last_error.message
    assert fake_host.client.status("silver").observed is Observed.STOPPED


def test_an_operation_is_followed_and_its_steps_are_told(fake_host: FakeHost) -> None:
    said: list[str] = []
    operation = fake_host.client.submit("gold", "start")
    assert fake_host.client.wait(operation, echo=said.append).state is OperationState.SUCCEEDED
    assert said == ["done"]


def test_each_new_step_is_told_once(fake_host: FakeHost) -> None:
    engine, said = fake_host.engine, []
    engine.outcome = OperationState.PENDING
    operation = fake_host.client.submit("gold", "drain")

    def echo(text: str) -> None:
        said.append(text)
        if text == "done":
            steps = (Step(NOON, "done"), Step(NOON, "proven"))
            engine.operations[operation.id] = replace(
                operation, steps=steps, state=OperationState.SUCCEEDED, result={"a": 1}
            )

    assert fake_host.client.wait(operation, echo=echo).result == {"a": 1}
    assert said == ["done", "proven"]


def test_a_failed_operation_raises_its_cause_and_remedy(fake_host: FakeHost) -> None:
    fake_host.engine.outcome = OperationState.FAILED
    operation = replace(fake_host.client.submit("gold", "stop"), error=OperationError("gold is dirty.", "Start it again."))
    with pytest.raises(StreamError, match=r"gold is dirty\. Start it again\."):
        fake_host.client.wait(operation)


def test_a_cancelled_operation_raises(fake_host: FakeHost) -> None:
    fake_host.engine.outcome = OperationState.PENDING
    operation = fake_host.client.submit("gold", "drain")
    with pytest.raises(StreamError, match="drain of gold was cancelled"):
        fake_host.client.wait(fake_host.client.cancel(operation.id))


def test_an_operation_that_takes_too_long_raises_and_goes_on(fake_host: FakeHost) -> None:
    fake_host.engine.outcome = OperationState.PENDING
    operation = fake_host.client.submit("gold", "drain")
    with pytest.raises(StreamError, match=r"drain of gold has not ended after 0\.1 s"):
        fake_host.client.wait(operation, seconds=0.1)
    assert fake_host.engine.operations[operation.id].state is OperationState.PENDING


def test_an_operation_that_the_host_does_not_know_was_asked_of_an_earlier_one(fake_host: FakeHost) -> None:
    fake_host.engine.outcome = OperationState.PENDING
    operation = fake_host.client.submit("gold", "drain")
    fake_host.engine.operations.clear()
    with pytest.raises(StreamError, match="the host was restarted since"):
        fake_host.client.wait(operation)


def test_a_host_that_goes_away_during_an_operation_is_told_at_once(fake_host: FakeHost, settings: Settings) -> None:
    fake_host.engine.outcome = OperationState.PENDING
    operation = fake_host.client.submit("gold", "start")
    with StreamsClient(settings) as client, pytest.raises(DependencyUnavailable, match="went away during start of gold"):
        client.wait(operation)


def test_a_refused_command_raises_what_the_host_says(fake_host: FakeHost) -> None:
    fake_host.engine.refusal = StreamError("The disk is full.", remedy="Make room.")
    with pytest.raises(StreamError, match=r"The disk is full\. Make room\."):
        fake_host.client.submit("gold", "start")
    fake_host.host.stopping.set()
    with pytest.raises(DependencyUnavailable, match="about to end"):
        fake_host.client.submit("gold", "start")


def test_a_host_of_another_state_folder_is_named_and_never_believed(fake_host: FakeHost) -> None:
    other = fake_host.settings.model_copy(update={"state_dir": fake_host.settings.state_dir.with_name("other")})
    ensure_token(other)
    client = StreamsClient(other, http=fake_host.client._http)
    with pytest.raises(ConfigurationError, match="belongs to another state folder"):
        client.statuses()


def test_shutdown_reaches_the_host(fake_host: FakeHost) -> None:
    fake_host.client.shutdown()
    assert len(fake_host.shutdowns) == 1


def test_without_a_host_the_disk_tells_what_is_desired_and_what_is_dirty(settings: Settings) -> None:
    for name, planned, committed in (("bronze", 4, 4), ("silver", 5, 4)):
        for folder, batch in (("offsets", planned), ("commits", committed)):
            (settings.checkpoint_dir / name / folder).mkdir(parents=True)
            (settings.checkpoint_dir / name / folder / str(batch)).touch()
    write_json(settings.streams_dir / DESIRED_FILE, {"bronze": "running"})
    with StreamsClient(settings) as client:
        found = {one.name: one for one in client.statuses()}
    assert list(found) == list(STREAM_NAMES)
    assert (found["bronze"].desired, found["bronze"].observed) == (Desired.RUNNING, Observed.STOPPED)
    assert (found["silver"].desired, found["silver"].observed) == (Desired.STOPPED, Observed.DIRTY)
    assert (found["gold"].observed, found["gold"].last_batch_id, found["gold"].last_commit_at) == (
        Observed.STOPPED,
        None,
        None,
    )
    assert found["bronze"].last_batch_id == 4
    assert found["bronze"].last_commit_at is not None


def test_nothing_was_ever_started_here_is_stopped_too(tmp_path: Path) -> None:
    with StreamsClient(load_settings(state_dir=tmp_path / "new", streams_port=free_port())) as client:
        assert {one.observed for one in client.statuses()} == {Observed.STOPPED}


def test_a_silent_host_whose_jvm_still_owns_the_checkpoints_is_unknown(settings: Settings) -> None:
    write_json(settings.streams_dir / DESIRED_FILE, {"bronze": "running"})
    with held(settings.checkpoint_dir / LOCK_FILE) as pid, StreamsClient(settings) as client:
        assert lock_holder(settings.checkpoint_dir / LOCK_FILE) == pid
        found = client.statuses()
        assert {one.observed for one in found} == {Observed.UNKNOWN}
        assert all(one.last_error and "still owns the checkpoints" in one.last_error.message for one in found)
        assert {one.name: one.desired for one in found} == dict.fromkeys(STREAM_NAMES, Desired.STOPPED) | {
            "bronze": Desired.RUNNING
        }
    assert lock_holder(settings.checkpoint_dir / LOCK_FILE) is None


def test_an_external_host_that_is_away_is_unknown_whatever_lies_on_disk(settings: Settings) -> None:
    external = settings.model_copy(update={"streams_url": f"http://127.0.0.1:{free_port()}/"})
    with StreamsClient(external) as client:
        assert {(one.desired, one.observed) for one in client.statuses()} == {(Desired.UNKNOWN, Observed.UNKNOWN)}
    with pytest.raises(DependencyUnavailable, match="is not there"):
        ensure_host(external)


@pytest.mark.parametrize("error", [httpx2.ReadTimeout("late"), httpx2.RemoteProtocolError("cut")])
def test_a_host_that_does_not_answer_is_a_dependency_that_is_away(settings: Settings, error: Exception) -> None:
    def refuse(_: httpx2.Request) -> httpx2.Response:
        raise error

    http = httpx2.Client(transport=httpx2.MockTransport(refuse), base_url=settings.streams_address)
    with StreamsClient(settings, http=http) as client, pytest.raises(DependencyUnavailable) as raised:
        client.host()
    assert raised.value.context["dependency"] == "stream host"


def test_ending_a_host_waits_until_it_is_gone_and_is_content_when_there_is_none(fake_host: FakeHost) -> None:
    calls: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        calls.append(request.url.path)
        if len(calls) > 4:
            raise httpx2.ConnectError("refused")
        replied = fake_host.http.request(request.method, request.url.path)
        return httpx2.Response(replied.status_code, content=replied.content)

    http = httpx2.Client(transport=httpx2.MockTransport(answer), base_url=fake_host.settings.streams_address)
    said: list[str] = []
    with StreamsClient(fake_host.settings, http=http) as client:
        end_host(client, fake_host.settings, echo=said.append)
        assert calls == ["/v1/host", "/v1/host/shutdown", "/v1/host", "/v1/host", "/v1/host"]
        assert said == ["the stream host (process 4711) stops its streams between batches and ends", "ended"]
        end_host(client, fake_host.settings, echo=said.append)
        assert said[2:] == ["no stream host is running"]


def test_an_answer_that_is_not_the_hosts_is_a_dependency_that_is_away(settings: Settings) -> None:
    page = httpx2.MockTransport(lambda _: httpx2.Response(200, text="<html>"))
    http = httpx2.Client(transport=page, base_url=settings.streams_address)
    with StreamsClient(settings, http=http) as client, pytest.raises(DependencyUnavailable):
        client.submit("gold", "start")


def test_the_client_needs_neither_spark_nor_dagster() -> None:
    code = (
        "import sys, rtap_assets.host.launcher, rtap_assets.commands.streaming.streams; "
        "print({'pyspark', 'dagster', 'confluent_kafka'} & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
