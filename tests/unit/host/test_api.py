"""The stream host's API over a fake engine: every endpoint, who may call, what it says to Prometheus, its description."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from fake_host import NOON, FakeHost, status_now
from starlette.routing import Route
from starlette.testclient import TestClient

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.host.api import Host, build_app
from rtap_assets.host.idle import Activity
from rtap_assets.host.metrics import CONTENT_TYPE, STREAM_METRICS, metric_names
from rtap_assets.host.openapi import ENDPOINTS
from rtap_assets.streaming.model.operation import STREAM_ACTIONS, Action, Operation, OperationState
from rtap_assets.streaming.model.states import Desired, FailureNote, Observed, StreamStatus
from rtap_assets.streaming.queries.definitions import STREAMS

SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (-?[0-9.e+-]+)$')


def test_the_names_of_the_streams_are_those_of_the_queries() -> None:
    assert list(STREAMS) == list(STREAM_NAMES)


def test_health_needs_no_token_and_follows_jvm_and_shutdown(fake_host: FakeHost) -> None:
    fake_host.http.headers.pop("Authorization")
    assert fake_host.http.get("/healthz").json() == {"status": "ok"}
    fake_host.engine.jvm = False
    assert fake_host.http.get("/healthz").status_code == 503
    fake_host.engine.jvm, fake_host.engine.pulse = True, False
    frozen = fake_host.http.get("/healthz")
    assert (frozen.status_code, frozen.json()["error"]["code"]) == (503, "jvm_gone")
    fake_host.engine.pulse = True
    assert fake_host.http.get("/healthz").status_code == 200
    fake_host.host.stopping.set()
    answer = fake_host.http.get("/healthz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")


def test_streams_are_told_as_the_engine_sees_them(fake_host: FakeHost) -> None:
    note = FailureNote("broker", "no answer", NOON, "wait")
    waiting = status_now("gold", observed=Observed.WAITING, waiting_for="broker", lag_seconds=1.5, last_error=note)
    fake_host.engine.found["gold"] = waiting
    told = [StreamStatus.from_json(one) for one in fake_host.http.get("/v1/streams").json()["streams"]]
    assert told == fake_host.engine.statuses()
    assert StreamStatus.from_json(fake_host.http.get("/v1/streams/gold").json()) == waiting


def test_progress_is_bounded(fake_host: FakeHost) -> None:
    assert len(fake_host.http.get("/v1/streams/gold/progress").json()["batches"]) == 20
    assert len(fake_host.http.get("/v1/streams/gold/progress?limit=3").json()["batches"]) == 3
    for limit in ("0", "1001", "-1", "x", "²"):
        assert fake_host.http.get("/v1/streams/gold/progress", params={"limit": limit}).status_code == 400


@pytest.mark.parametrize("action", STREAM_ACTIONS)
def test_a_command_is_accepted_and_can_be_followed(fake_host: FakeHost, action: Action) -> None:
    answer = fake_host.http.post(f"/v1/streams/silver/{action}")
    assert answer.status_code == 202
    operation = Operation.from_json(answer.json())
    assert (operation.stream, operation.action) == ("silver", action)
    assert Operation.from_json(fake_host.http.get(f"/v1/operations/{operation.id}").json()) == operation


def test_an_operation_is_cancelled_once(fake_host: FakeHost) -> None:
    fake_host.engine.outcome = OperationState.PENDING
    id = fake_host.http.post("/v1/streams/gold/drain").json()["id"]
    assert fake_host.http.post(f"/v1/operations/{id}/cancel").json()["state"] == "cancelled"
    assert fake_host.http.post(f"/v1/operations/{id}/cancel").status_code == 409


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/v1/streams/platinum"),
        ("GET", "/v1/streams/platinum/progress"),
        ("POST", "/v1/streams/platinum/start"),
        ("POST", "/v1/streams/gold/explode"),
        ("GET", "/v1/operations/none"),
        ("POST", "/v1/operations/none/cancel"),
        ("GET", "/v2"),
    ],
)
def test_what_is_not_there_is_404_with_a_reason(fake_host: FakeHost, method: str, path: str) -> None:
    answer = fake_host.http.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_a_command_by_get_is_refused(fake_host: FakeHost) -> None:
    assert fake_host.http.get("/v1/streams/gold/stop").status_code == 405
    assert fake_host.engine.operations == {}


@pytest.mark.parametrize(
    "refusal, status_code", [(StreamError("no", remedy="do"), 409), (DependencyUnavailable("away", remedy="do"), 503)]
)
def test_a_refusal_of_the_engine_is_told_with_its_remedy(fake_host: FakeHost, refusal: Exception, status_code: int) -> None:
    fake_host.engine.refusal = refusal
    answer = fake_host.http.post("/v1/streams/gold/start")
    assert answer.status_code == status_code
    assert answer.json()["error"] == {"code": type(refusal).__name__, "message": refusal.message, "remedy": "do"}


@pytest.mark.parametrize("work", ["maintain", "correct", "erase"])
def test_work_on_the_tables_is_an_operation(fake_host: FakeHost, work: str) -> None:
    answer = fake_host.http.post(f"/v1/tables/{work}")
    assert (answer.status_code, answer.json()["stream"], answer.json()["action"]) == (202, "tables", work)
    assert fake_host.http.post("/v1/tables/drop").status_code == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"account_id": "' + 20_000 * b"x" + b'"}'])
def test_arguments_that_are_no_small_json_object_are_refused(fake_host: FakeHost, body: bytes) -> None:
    answer = fake_host.http.post("/v1/tables/erase", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert fake_host.engine.operations == {}


def test_a_host_that_is_about_to_end_takes_no_commands(fake_host: FakeHost) -> None:
    fake_host.host.stopping.set()
    assert fake_host.http.post("/v1/streams/gold/start").status_code == 503
    assert fake_host.engine.operations == {}
    assert fake_host.http.get("/v1/host").json()["stopping"]


def test_the_host_introduces_itself_and_ends_when_asked_to(fake_host: FakeHost) -> None:
    assert fake_host.http.get("/v1/host").json() == {
        "pid": 4711, "since": "2026-03-01T12:00:00+00:00", "state_dir": str(fake_host.settings.state_dir),
        "version": "0.1.0", "jvm_pid": 4712, "stopping": False,
    }  # fmt: skip
    assert fake_host.http.post("/v1/host/shutdown").status_code == 202
    assert len(fake_host.shutdowns) == 1


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer wrong", "bearer {token}", "Basic {token}", "{token}", "Bearer {token}x"]
)
def test_every_endpoint_but_health_wants_the_token(fake_host: FakeHost, shown: str) -> None:
    fake_host.http.headers["Authorization"] = shown.format(token=fake_host.token)
    for endpoint in ENDPOINTS:
        path = endpoint.path.format(name="gold", action="stop", work="maintain", id="op-0")
        answer = fake_host.http.request(endpoint.method, path)
        assert answer.status_code == (200 if endpoint.path == "/healthz" else 401), path
    assert (fake_host.engine.operations, fake_host.shutdowns) == ({}, [])


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:18090", "localhost:1", "LOCALHOST", "[::1]:18090"])
def test_a_loopback_host_is_served(fake_host: FakeHost, name: str) -> None:
    assert fake_host.http.get("/v1/host", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:18090", "0.0.0.0", "", "user@evil.example", "[::1"],
)
def test_a_foreign_host_is_refused_even_with_the_token(fake_host: FakeHost, name: str) -> None:
    for path in ("/healthz", "/v1/host"):
        assert fake_host.http.get(path, headers={"Host": name}).status_code == 421


def test_two_host_headers_are_refused(fake_host: FakeHost) -> None:
    both: Any = [("Host", "127.0.0.1"), ("Host", "evil.example")]
    for path in ("/healthz", "/v1/host"):
        assert fake_host.http.get(path, headers=both).status_code == 400


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "file://", "http://127.0.0.1.evil.example", "http://[::1"]
)
def test_a_foreign_origin_is_refused_even_with_the_token(fake_host: FakeHost, origin: str) -> None:
    answer = fake_host.http.post("/v1/streams/gold/stop", headers={"Origin": origin})
    assert answer.status_code == 403
    assert fake_host.engine.operations == {}


def test_a_page_of_this_machine_may_call_with_the_token(fake_host: FakeHost) -> None:
    assert fake_host.http.get("/v1/host", headers={"Origin": "http://localhost:3000"}).status_code == 200


def test_a_setting_allows_another_name(fake_host: FakeHost) -> None:
    fake_host.http.app = build_app(
        fake_host.host, fake_host.settings.model_copy(update={"streams_allowed_hosts": ["Platform"]}), token=fake_host.token
    )
    with TestClient(fake_host.http.app, base_url="http://platform:18090", headers=fake_host.http.headers) as http:
        assert http.get("/v1/host", headers={"Origin": "http://platform:3000"}).status_code == 200


def test_the_description_names_every_route_and_no_other(fake_host: FakeHost) -> None:
    app = build_app(fake_host.host, fake_host.settings, token="t")
    routes = {
        (route.path, method.lower()) for route in app.routes if isinstance(route, Route) for method in route.methods or ()
    }
    document = fake_host.http.get("/openapi.json").json()
    described = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert {route for route in routes if route[1] != "head"} == described
    assert document["openapi"].startswith("3.1")


def test_every_reference_of_the_description_leads_somewhere(fake_host: FakeHost) -> None:
    text = fake_host.http.get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) == set(schemas)


def test_the_description_has_the_fields_that_are_exchanged(fake_host: FakeHost) -> None:
    schemas = fake_host.http.get("/openapi.json").json()["components"]["schemas"]
    assert list(schemas["StreamStatus"]["properties"].keys() - {field.name for field in fields(StreamStatus)}) == []
    assert schemas["StreamStatus"]["properties"].keys() == status_now("gold").to_json().keys()
    assert schemas["Operation"]["properties"].keys() == {field.name for field in fields(Operation)}
    assert schemas["Host"]["properties"].keys() == fake_host.http.get("/v1/host").json().keys()


def samples(text: str) -> dict[str, dict[str, float]]:
    """Metric -> labels -> value; fails on a line that is none."""
    found: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, line
            found.setdefault(match[1], {})[match[2] or ""] = float(match[3])
    return found


def test_metrics_have_help_type_and_every_reading(fake_host: FakeHost) -> None:
    fake_host.engine.found["gold"] = status_now(
        "gold", desired=Desired.RUNNING, observed=Observed.RUNNING, lag_records=0, watermark=NOON, state_bytes=2**60
    )
    fake_host.host.totals.add({"name": "dlq", "observedMetrics": {"dlq": {"bad_magic": 3}}})
    answer = fake_host.http.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE
    found = samples(answer.text)
    assert found["rtap_stream_lag_records"] == {'stream="gold"': 0}
    assert found["rtap_stream_watermark_timestamp_seconds"] == {'stream="gold"': NOON.timestamp()}
    assert found["rtap_stream_state_bytes"] == {'stream="gold"': 2**60}
    assert found["rtap_stream_desired_running"]['stream="gold"'] == 1
    states = {labels: value for labels, value in found["rtap_stream_state"].items() if '"gold"' in labels}
    assert len(states) == len(Observed)
    assert [labels for labels, value in states.items() if value] == ['stream="gold",state="running"']
    assert found["rtap_host_jvm_up"] == {"": 1}
    assert found["rtap_stream_counted_rows_total"] == {'stream="dlq",count="bad_magic"': 3}
    for name in metric_names():
        kind = "counter" if name.endswith("_total") else "gauge"
        assert re.search(rf"^# HELP {name} .+\.\n# TYPE {name} {kind}$", answer.text, flags=re.MULTILINE), name


def test_a_reading_that_is_not_known_is_left_out_of_the_metrics(fake_host: FakeHost) -> None:
    found = samples(fake_host.http.get("/metrics").text)
    assert "rtap_stream_lag_records" not in found
    assert "rtap_stream_last_commit_timestamp_seconds" not in found


def test_labels_are_escaped(fake_host: FakeHost) -> None:
    odd = replace(fake_host.host, info=replace(fake_host.host.info, version='1"\\\n2'))
    fake_host.http.app = build_app(odd, fake_host.settings, token=fake_host.token)
    with TestClient(fake_host.http.app, base_url="http://localhost", headers=fake_host.http.headers) as http:
        assert 'version="1\\"\\\\\\n2"' in http.get("/metrics").text


def test_the_unit_of_a_metric_is_in_its_name_and_its_help() -> None:
    for name, (_, text) in STREAM_METRICS.items():
        for unit in ("seconds", "bytes"):
            assert not name.endswith(f"_{unit}") or unit in text, name


def test_every_metric_of_the_dashboard_exists() -> None:
    text = (PROJECT_ROOT / "docker" / "grafana-dashboard.json").read_text(encoding="utf-8")
    used = set(re.findall(r"\brtap_(?:stream|host)_\w+", text))
    assert used
    assert used - metric_names() == set()
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [panel["title"] for panel in panels if not panel["description"]] == []


def test_a_defect_is_a_500_that_names_it_and_not_the_end_of_the_host(fake_host: FakeHost) -> None:
    fake_host.engine.refusal = ZeroDivisionError("oops")
    app = build_app(fake_host.host, fake_host.settings, token=fake_host.token)
    with TestClient(app, base_url="http://localhost", headers=fake_host.http.headers, raise_server_exceptions=False) as http:
        answer = http.post("/v1/streams/gold/start")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "defect")
        assert http.get("/v1/streams").status_code == 200


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_host_is_idle_while_nothing_should_run_and_nothing_is_under_way(fake_host: FakeHost) -> None:
    engine, clock = fake_host.engine, Clock()
    activity = Activity(engine, clock=clock)
    host: Host = replace(fake_host.host, activity=activity)
    app = build_app(host, fake_host.settings, token=fake_host.token)
    with TestClient(app, base_url="http://localhost", headers=fake_host.http.headers) as http:
        clock.now = 10
        http.get("/v1/streams")
        http.get("/v1/host")
        assert activity.idle_seconds() == 10, "looking is not asking"
        engine.outcome = OperationState.PENDING
        id = http.post("/v1/streams/gold/drain").json()["id"]
        clock.now = 500
        assert activity.idle_seconds() == 0
        engine.operations[id] = replace(engine.operations[id], state=OperationState.SUCCEEDED)
        clock.now = 600
        assert activity.idle_seconds() == 100
        engine.found["gold"] = status_now("gold", desired=Desired.RUNNING)
        assert activity.idle_seconds() == 0
        engine.found["gold"] = status_now("gold", valid_until=NOON + timedelta(1))
        clock.now = 650
        assert activity.idle_seconds() == 50
