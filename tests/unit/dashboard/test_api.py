"""The API over real marts and a real lake: rows, filters, pages, forms, ETags, refusals, swaps; and the guard before it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import duckdb
import pyarrow as pa
import pytest
from dashboard_stage import Stage, running, served, staged
from pydantic import SecretStr
from starlette.testclient import TestClient

from rtap_assets.config import Settings, load_settings
from rtap_assets.dashboard.openapi import PATHS
from rtap_assets.errors import ConfigurationError, StreamError
from rtap_assets.local.ports import free_port
from rtap_assets.runtime.files import put_in_place
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.serving.marts_reader import MartsReader

READS, AT_ONCE, SWAPS = 1_000, 50, 20
OWN = "http://127.0.0.1:18080"
ARROW = "application/vnd.apache.arrow.stream"
LISTS = [path.replace("{reason}", "undecodable") for path in PATHS] + ["/api/streams"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Revenue of half an hour, shared by the tests that only read."""
    found, _ = staged(load_settings(state_dir=tmp_path_factory.mktemp("stage") / ".rtap"), hours=0.5)
    return found


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[TestClient]:
    with TestClient(stage.app(), base_url=OWN) as found:
        yield found


def guarded(stage: Stage, peer: str = "testclient", **settings: Any) -> TestClient:
    """Return a client of the same stage under other settings; its background tasks do not run."""
    other = replace(stage, settings=stage.settings.model_copy(update=settings))
    return TestClient(other.app(), base_url=OWN, client=(peer, 5000))


def rows(client: TestClient, path: str) -> list[dict[str, Any]]:
    response = client.get(path)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["rows"]
    return found


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("kind", ["application/json", "text/csv", ARROW])
def test_every_reading_comes_in_every_form(client: TestClient, path: str, kind: str) -> None:
    response = client.get(path, headers={"Accept": kind})
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, kind)
    count = {
        "application/json": lambda: len(response.json()["rows"]),
        "text/csv": lambda: len(response.text.strip().split("\r\n")) - 1,
        ARROW: lambda: pa.ipc.open_stream(io.BytesIO(response.content)).read_all().num_rows,
    }[kind]()
    assert count > 0


def test_a_sum_over_the_api_is_that_of_sql(client: TestClient, stage: Stage) -> None:
    found = [row for row in rows(client, "/api/windows/tumbling?limit=10000") if row["currency"] == "EUR"]
    statement = "SELECT sum(net_amount), sum(orders)::BIGINT, count(*) FROM tumbling_revenue WHERE currency = 'EUR'"
    expected = MartsReader(stage.settings).rows(statement)
    assert [(sum(Decimal(row["net_amount"]) for row in found), sum(row["orders"] for row in found), len(found))] == expected
    hours = rows(client, "/api/revenue?currency=EUR&limit=10000")
    assert sum(Decimal(row["net_amount"]) for row in hours) == expected[0][0]


@pytest.mark.parametrize(
    "path", ["/api/windows/rolling", "/api/revenue", "/api/corrections", "/api/dead-letters", "/api/quality"]
)
def test_pages_hold_each_row_once(client: TestClient, path: str) -> None:
    whole = rows(client, f"{path}?limit=10000")
    size = max(1, len(whole) // 5)
    address: str | None = f"{path}?limit={size}"
    paged: list[dict[str, Any]] = []
    while address:
        response = client.get(address)
        paged += response.json()["rows"]
        link = response.headers.get("link")
        address = urljoin(address, link[1 : link.index(">")]) if link else None
        assert (response.json()["next"] is None) is (link is None)
    assert paged == whole
    assert len({json.dumps(row, sort_keys=True) for row in paged}) == len(whole)


def test_records_of_a_reason_are_paged_newest_first(client: TestClient) -> None:
    first = client.get("/api/dead-letters/undecodable?limit=4").json()
    second = client.get(f"/api/dead-letters/undecodable?limit=4&cursor={first['next']}").json()
    assert [row["kafka_offset"] for row in first["rows"] + second["rows"]] == [0, 1, 2, 3, 4, 5, 6]
    assert second["next"] is None
    assert (first["rows"][0]["key"], first["rows"][0]["value_bytes"]) == ("account-7", 95)


def test_filters_choose_and_a_period_is_closed_at_its_start(client: TestClient) -> None:
    newest = rows(client, "/api/windows/rolling?limit=1")[0]["window_start"]
    assert {row["window_start"] for row in rows(client, f"/api/windows/rolling?from={newest}")} == {newest}
    assert newest not in {row["window_start"] for row in rows(client, f"/api/windows/rolling?to={newest}")}
    found = rows(client, "/api/windows/rolling?plan_tier=pro&region=emea&currency=EUR")
    assert {(row["plan_tier"], row["region"], row["currency"]) for row in found} == {("pro", "emea", "EUR")}
    restated = rows(client, "/api/windows/tumbling?status=restated")
    assert [(row["plan_tier"], row["currency"], row["revision"]) for row in restated] == [("enterprise", "USD", 1)]


def test_a_restated_window_has_its_correction_with_from_and_to(client: TestClient) -> None:
    (row,) = rows(client, "/api/corrections?cause=late")
    assert Decimal(row["to_net_amount"]) - Decimal(row["from_net_amount"]) == Decimal(899)
    assert (row["cause"], row["state"], row["rows_added"]) == ("late", "done", 1)


def test_checks_have_their_outcome_and_their_sentence(client: TestClient) -> None:
    found = rows(client, "/api/quality")
    assert {row["outcome"] for row in found} == {"passed", "failed", "nothing to check"}
    assert all(row["sentence"].endswith(".") for row in found)


@pytest.mark.parametrize("path", LISTS)
def test_an_answer_is_not_sent_again_until_there_is_a_newer_one(client: TestClient, path: str) -> None:
    etag = client.get(path).headers["etag"]
    again = client.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(path, headers={"If-None-Match": etag, "Accept": "text/csv"}).status_code == 200


def test_a_refresh_of_the_marts_changes_etag_and_rows(tmp_path: Any) -> None:
    stage, _ = staged(load_settings(state_dir=tmp_path / ".rtap"), hours=0.25, restate=False)
    with TestClient(stage.app(), base_url=OWN) as client:
        before = client.get("/api/revenue")
        later = datetime.now(UTC) + timedelta(minutes=5)
        refresh_marts(stage.settings, refreshed_at=later)
        after = client.get("/api/revenue", headers={"If-None-Match": before.headers["etag"]})
        assert (after.status_code, datetime.fromisoformat(after.json()["as_of"])) == (200, later)


def numbered_marts(settings: Settings, number: int) -> Path:
    """Return a copy of the marts whose refresh and every window carry a number."""
    copy = settings.marts_path.with_name(f"numbered-{number}")
    shutil.copyfile(settings.marts_path, copy)
    with duckdb.connect(str(copy)) as connection:
        connection.execute("UPDATE refresh SET refreshed_at = to_timestamp(?)", [number])
        connection.execute("UPDATE rolling_revenue SET revision = ?", [number])
    return copy


def test_1000_reads_with_50_at_once_and_20_swaps_are_each_of_one_refresh_and_none_goes_back(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path / ".rtap", dashboard_port=free_port())
    stage, _ = staged(settings, hours=0.25, restate=False)
    files = [numbered_marts(settings, number) for number in range(1, SWAPS + 2)]
    put_in_place(files[0], settings.marts_path)
    queries = ("limit=20", "limit=20&currency=EUR", "status=provisional&limit=5")

    def ask(connection: HTTPConnection, query: str) -> tuple[int, set[int]]:
        """Return the number of the refresh, and those of its rows."""
        connection.request("GET", f"/api/windows/rolling?{query}")
        response = connection.getresponse()
        body = json.loads(response.read())
        assert response.status == 200, body
        return int(body["as_of"][17:19]), {row["revision"] for row in body["rows"]}

    def read(first: int) -> int:
        newest = 0
        with closing(HTTPConnection("127.0.0.1", settings.dashboard_port, timeout=60)) as connection:
            for number in range(first, READS, AT_ONCE):
                of, rows = ask(connection, queries[number % 3])
                assert rows == {of}
                assert of >= newest
                newest = of
        return newest

    with (
        served(stage),
        ThreadPoolExecutor(AT_ONCE) as pool,
        closing(HTTPConnection("127.0.0.1", settings.dashboard_port, timeout=60)) as own,
    ):
        readers = [pool.submit(read, first) for first in range(AT_ONCE)]
        for number, file in enumerate(files[1:], start=2):
            put_in_place(file, settings.marts_path)
            assert ask(own, "limit=1") == (number, {number}), "the newest refresh is seen at once"
        assert all(one.result() >= 1 for one in readers)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=10001", "limit=x", "from=yesterday", "from=2026-03-01T12:00:00", "colour=red", "region=a&region=b",
        "cursor=WyJ4IiwgInBybyIsICJlbWVhIiwgIkVVUiJd", "from=0001-01-01T00:00:00%2B14:00", "to=9999-12-31T23:59:59-14:00",
        "cursor=x", "cursor=WyJhIl0", "region=" + "r" * 201, "cursor=" + "WyIxIiwgIjIiLCAiMyIsICI0Il0",
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_used_is_refused_in_words(client: TestClient, query: str) -> None:
    response = client.get(f"/api/windows/rolling?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["message"]


@pytest.mark.parametrize("text", ["'; DROP TABLE rolling_revenue; --", '" OR 1=1', "<script>", "%00", "\u202e"])
def test_hostile_values_of_filters_choose_nothing_and_break_nothing(client: TestClient, text: str) -> None:
    for path in ("/api/windows/rolling", "/api/revenue", "/api/corrections"):
        response = client.get(path, params={"region": text})
        assert (response.status_code, response.json()["rows"]) == (200, [])
    assert rows(client, "/api/windows/rolling?limit=1")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/windows/other", 404), ("/api/dead-letters/other", 404), ("/api/nothing", 404), ("/api/streams?a=b", 400)],
)
def test_what_is_not_there_is_refused(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status
    assert client.get("/api/revenue", headers={"Accept": "image/png"}).status_code == 406


def test_without_marts_the_api_says_what_to_do(tmp_path: Any) -> None:
    with TestClient(Stage(load_settings(state_dir=tmp_path), streams=running()).app(), base_url=OWN) as client:
        response = client.get("/api/revenue", headers={"If-None-Match": '"-0"'})
        assert response.status_code == 503
        assert "rtap marts refresh" in response.json()["error"]["remedy"]
        assert client.get("/api/streams").status_code == 200


def test_a_stream_past_its_validity_is_unknown(stage: Stage) -> None:
    old = replace(running()[0], valid_until=datetime.now(UTC) - timedelta(seconds=1))
    with TestClient(replace(stage, streams=[old]).app(), base_url=OWN) as client:
        assert [row["observed"] for row in rows(client, "/api/streams")] == ["unknown"]
    with TestClient(replace(stage, host_error=StreamError("no")).app(), base_url=OWN) as client:
        assert rows(client, "/api/streams") == []


def test_openapi_describes_every_path_with_its_parameters(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {*PATHS, "/api/streams"}
    for path in LISTS[:-1]:
        shape = path.replace("undecodable", "{reason}")
        names = {one["name"]: one for one in document["paths"][shape]["get"]["parameters"]}
        known = [name for name, one in names.items() if one["in"] == "query" and name not in {"cursor", "limit"}]
        for name in known:
            value = "2026-03-01T12:00:00Z" if name in {"from", "to"} else "x"
            assert client.get(path, params={name: value}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api", "/api/revenue", "/openapi.json", "/healthz", "/static/page.js", "/nothing"])
def test_every_response_forbids_scripts_of_others(client: TestClient, path: str) -> None:
    policy = client.get(path).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert client.get(path).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_is_writable(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/revenue").status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421), ({"Host": "127.0.0.1:18080", "Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403), ({"Origin": "null"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, 200), ({}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
    ],
)  # fmt: skip
def test_no_page_of_another_site_reads_the_data(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/api/revenue?limit=1", headers=headers).status_code == status


def test_a_look_at_the_headers_of_the_events_ends(client: TestClient, stage: Stage) -> None:
    assert client.head("/events").headers["content-type"].startswith("text/event-stream")
    assert stage.api is not None
    assert stage.api.hub.viewers == 0


def test_a_link_on_another_site_may_lead_to_the_page(client: TestClient) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/?currency=EUR", headers=link).status_code == 200
    assert client.get("/", headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403


@pytest.mark.parametrize(
    ("header", "status"), [({}, 401), ({"Authorization": "Bearer no"}, 401), ({"Authorization": "Bearer s3cret"}, 200)]
)
def test_with_a_token_the_data_are_for_those_who_show_it(stage: Stage, header: dict[str, str], status: int) -> None:
    client = guarded(stage, dashboard_token=SecretStr("s3cret"))
    assert client.get("/api/revenue?limit=1", headers=header).status_code == status
    assert client.get("/").status_code == 200, "the page itself holds no data, and asks for the token"


@pytest.mark.parametrize(
    ("peer", "header", "status"),
    [("10.0.0.5", {"X-User": "ada"}, 200), ("10.0.0.6", {"X-User": "ada"}, 401),
     ("10.0.0.5", {"X-User": " "}, 401), ("10.0.0.5", {}, 401)],
)  # fmt: skip
def test_a_user_header_is_believed_of_the_proxy_alone(stage: Stage, peer: str, header: dict[str, str], status: int) -> None:
    client = guarded(stage, peer, dashboard_user_header="X-User", dashboard_proxies=["10.0.0.5"])
    assert client.get("/api/revenue?limit=1", headers=header).status_code == status


@pytest.mark.parametrize("bind", ["0.0.0.0", "10.0.0.7", "::"])
def test_beyond_loopback_there_is_a_guard_or_no_dashboard(bind: str) -> None:
    with pytest.raises(ConfigurationError, match="RTAP_DASHBOARD_TOKEN"):
        load_settings(dashboard_bind=bind)
    assert load_settings(dashboard_bind=bind, dashboard_token=SecretStr("t")).dashboard_bind == bind


def test_a_proxy_is_an_address() -> None:
    with pytest.raises(ConfigurationError, match="IP addresses"):
        load_settings(dashboard_proxies=["proxy.example"])


def test_the_page_is_small_and_kept_by_the_browser(client: TestClient) -> None:
    files = ["/", *(f"/static/{name}" for name in (
        "page.css", "page.js", "theme.js", "amounts.js", "api.js", "chart.js", "connection.js", "dom.js",
        "panels.js", "times.js", "vendor/uPlot.iife.min.js", "vendor/uPlot.min.css", "icon.svg",
    ))]  # fmt: skip
    sent = [client.get(path, headers={"Accept-Encoding": "gzip"}) for path in files]
    assert {response.status_code for response in sent} == {200}
    assert sum(int(response.headers["content-length"]) for response in sent) < 100_000
    assert client.get("/", headers={"If-None-Match": sent[0].headers["etag"]}).status_code == 304
