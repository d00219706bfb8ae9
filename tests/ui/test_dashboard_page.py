"""The dashboard's page in a real Chromium over marts, topic and stream host that the test directs: sizes, states, faults.

Screenshots of each are kept in `.screenshots/` (or `UI_SCREENSHOTS`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from dashboard_pages import Viewer, chromium, launched
from dashboard_stage import MINUTE, Stage, away, fill_lake, running, served, staged, tumbling, waiting
from lake_fixtures import gold_row
from playwright.sync_api import Browser, Route
from polling import wait_until
from pydantic import SecretStr

from rtap_assets.config import Settings, load_settings
from rtap_assets.local.ports import free_port
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.streaming.model.states import Observed

HOSTILE = '<img src=x onerror="window.hacked=1">\'\u202e\u2028{{7*7}}'
PAINTS = 3  # what else the machine does only delays a paint: the earliest is the page's own
SIZES = [(360, True), (768, False), (1280, False), (1440, True), (3840, False)]


CURRENCIES = "AUD BRL CAD CHF CZK DKK EUR GBP HUF INR JPY KRW KWD MXN NOK NZD PLN SEK USD".split()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def own_settings(folder: Path) -> Settings:
    return load_settings(state_dir=folder / ".rtap", dashboard_port=free_port())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, str, list[dict[str, Any]]]]:
    """A dashboard with three hours of revenue; a test leaves it as it found it."""
    stage, rows = staged(own_settings(tmp_path_factory.mktemp("scene")))
    with served(stage) as address:
        yield stage, address, rows


def cents(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal('0.01'), ROUND_HALF_UP):,}".replace("-", "−")


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_the_page_fits_every_size_and_has_no_serious_barrier(
    browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]], width: int, dark: bool
) -> None:
    viewer = Viewer(browser, scene[1], width=width, dark=dark, bypass_csp=True).open()
    viewer.see(lambda one: one.text("#dead-sum") != "" and one.text("#now-net") != "–", what="the page is complete")
    viewer.see(lambda one: one.page.locator("#streams .pill[data-is=ok]").count() == 4, what="four streams run")
    viewer.picture(f"live-{width}-{'dark' if dark else 'light'}")
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    assert viewer.barriers() == []
    assert viewer.strangers == []
    viewer.close()


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_text_at_twice_its_size_fits(browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]], width: int) -> None:
    program = str(shutil.which("chromium"))
    with launched(browser.browser_type, program, "--blink-settings=defaultFontSize=32") as large:
        viewer = Viewer(large, scene[1], width=width, bypass_csp=True).open()
        viewer.see(lambda one: one.text("#dead-sum") != "" and one.text("#now-net") != "–", what="the page is complete")
        viewer.picture(f"large-text-{width}")
        assert viewer.page.evaluate("getComputedStyle(document.documentElement).fontSize") == "32px"
        viewer.assert_fits(width)
        assert viewer.barriers() == []
        viewer.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_many_tiers_and_currencies_and_long_figures_fit(browser: Browser, tmp_path: Path, width: int) -> None:
    settings, now = own_settings(tmp_path), datetime.now(UTC)
    start = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0) - 5 * MINUTE
    rows = [
        gold_row(
            start - 5 * number * MINUTE, plan_tier=f"partner reseller {tier}", region="middle-east-and-africa",
            currency=currency, gross_amount=Decimal("3492340503.2500"), updated_at=now,
        )
        for number in range(3) for tier in range(12) for currency in CURRENCIES
    ]  # fmt: skip
    fill_lake(settings, rows, now=now, watermark=now - 10 * MINUTE)
    refresh_marts(settings, refreshed_at=now)
    with served(Stage(settings, streams=running())) as address:
        viewer = Viewer(browser, address, width=width, bypass_csp=True).open("/?currency=KRW&kind=tumbling")
        viewer.see(lambda one: one.page.locator("#currencies li").count() == len(CURRENCIES), what="all currencies")
        viewer.see(lambda one: one.text("#dead-sum") != "", what="the page is complete")
        viewer.picture(f"many-{width}")
        viewer.assert_fits(width)
        assert viewer.barriers() == []
        viewer.close()


def test_the_first_paint_is_early_and_little_is_transferred(
    browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]
) -> None:
    paints, sent = [], []
    for _ in range(PAINTS):
        viewer = Viewer(browser, scene[1]).open()
        paints.append(viewer.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        sent.append(
            viewer.page.evaluate(
                "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))"
                ".reduce((all, one) => all + one.transferSize, 0)"
            )
        )
        assert viewer.faults == []
        viewer.close()
    assert min(paints) < 1_000, paints
    assert max(sent) < 150_000


def test_every_figure_is_that_of_gold_to_the_cent(browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]) -> None:
    _, address, rows = scene
    viewer = Viewer(browser, address).open("/?currency=EUR&plan_tier=pro&range=1")
    expected = tumbling(rows, "EUR", plan_tier="pro")
    viewer.see(lambda one: len(one.figures()) > 0, what="figures")
    shown = viewer.figures()
    assert shown == {start: f"{cents(expected[start])} EUR" for start in shown}
    total = sum((expected[start] for start in shown), Decimal(0))
    assert viewer.text("#total-net") == cents(total)
    (emea,) = viewer.page.locator("#regions [data-figure=emea]").all_inner_texts()
    assert emea == cents(total), "the euro is of EMEA alone"
    tiers = {one: sum(v for s, v in tumbling(rows, "EUR", plan_tier=one).items() if s in shown) for one in ("free", "pro")}
    for name, amount in tiers.items():
        assert viewer.page.locator(f"#tiers [data-figure={name}]").inner_text() == cents(Decimal(amount))
    viewer.close()


def test_a_view_is_in_its_address_and_back_leads_back(
    browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]
) -> None:
    viewer = Viewer(browser, scene[1]).open("/?currency=USD&zone=Asia/Tokyo")
    viewer.page.get_by_role("button", name="enterprise").click()
    viewer.page.get_by_label("Tumbling").check()
    viewer.see(lambda one: "plan_tier=enterprise" in one.page.url and "kind=tumbling" in one.page.url, what="the address")
    assert "Asia/Tokyo" in viewer.text("#windows-zone")
    colleague = Viewer(browser, scene[1]).open(viewer.page.url.removeprefix(scene[1]))
    colleague.see(lambda one: one.text("#total-net") == viewer.text("#total-net"), what="the same view")
    viewer.page.go_back()
    viewer.page.go_back()
    viewer.see(lambda one: "plan_tier" not in one.page.url, what="the view before")
    assert viewer.page.locator("#plan_tier").input_value() == ""
    colleague.close()
    viewer.close()


def test_a_restated_window_shows_from_to_and_cause(browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]) -> None:
    _, address, rows = scene
    (row,) = [row for row in rows if row["revision"]]
    start = round(row["window_start"].timestamp() * 1000)
    after = tumbling(rows, "USD")[start]
    viewer = Viewer(browser, address).open("/?currency=USD&kind=tumbling")
    viewer.see(lambda one: one.status_of(start)[1] != "" and "→" in one.status_of(start)[1], what="the restatement")
    assert viewer.status_of(start) == ("Restated", f"{cents(after - 899)} → {cents(after)} (late)")
    viewer.picture("restated")
    viewer.close()


def test_what_is_published_appears_without_a_reload(
    browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]
) -> None:
    stage, address, rows = scene
    newest = max(row["window_start"] for row in rows if row["window_start"].minute % 5 == 0)
    start = round(newest.timestamp() * 1000)
    viewer = Viewer(browser, address).open("/?currency=BRL&plan_tier=free")
    group = {"plan_tier": "free", "region": "latam", "currency": "BRL"}
    stage.topic.publish(gold_row(newest, **group, gross_amount=Decimal("1234567.8950"), updated_at=datetime.now(UTC)))
    viewer.see(lambda one: one.figures().get(start) == "1,234,567.90 BRL", what="the new figure")
    viewer.close()


@pytest.mark.parametrize(
    "zone, instants, shown",
    [
        (
            "Europe/Berlin",
            ["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"],
            ["02:30 GMT+2", "02:30 GMT+1", "03:30"],
        ),
        ("Europe/Berlin", ["2026-03-29T00:59Z", "2026-03-29T01:00Z"], ["01:59", "03:00"]),
        ("Australia/Lord_Howe", ["2026-04-04T14:45Z", "2026-04-04T15:15Z"], ["01:45 GMT+11", "01:45 GMT+10:30"]),
        ("UTC", ["2026-10-25T00:30Z"], ["00:30"]),
    ],
)
def test_times_of_an_hour_that_comes_twice_bear_their_offset(
    browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]], zone: str, instants: list[str], shown: list[str]
) -> None:
    viewer = Viewer(browser, scene[1]).open()
    script = """async ([zone, instants]) => {
        const times = await import('./static/times.js');
        times.useZone(zone);
        return instants.map(one => times.clock(Date.parse(one)));
    }"""
    assert viewer.page.evaluate(script, [zone, instants]) == shown
    viewer.close()


def test_a_viewer_that_slept_has_what_it_missed(browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]) -> None:
    stage, address, rows = scene
    newest = max(row["window_start"] for row in rows if row["window_start"].minute % 5 == 0)
    start = round(newest.timestamp() * 1000)
    viewer = Viewer(browser, address).open("/?currency=CAD&plan_tier=free")
    session = viewer.page.context.new_cdp_session(viewer.page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    for cent in range(1, 4):
        group = {"plan_tier": "free", "region": "na", "currency": "CAD"}
        amount = Decimal(f"77.0{cent}00")
        stage.topic.publish(gold_row(newest, **group, gross_amount=amount, updated_at=datetime.now(UTC)))
    api = stage.api
    assert api is not None
    wait_until(lambda: api.hub.store.position[0] == len(stage.topic.records), seconds=60, what="the dashboard has them")
    session.send("Page.setWebLifecycleState", {"state": "active"})
    viewer.see(lambda one: one.figures().get(start) == "77.03 CAD", what="what it missed")
    viewer.close()


def test_hidden_tabs_leave_their_connections_to_others_and_come_back_with_what_they_missed(
    browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]
) -> None:
    stage, address, rows = scene
    assert stage.api is not None
    newest = max(row["window_start"] for row in rows if row["window_start"].minute % 5 == 0)
    start, hub = round(newest.timestamp() * 1000), stage.api.hub
    first = Viewer(browser, address).open("/?currency=GBP&plan_tier=free")
    tabs = [first, *(Viewer(browser, address, page=first.page.context.new_page()) for _ in range(7))]
    for tab in tabs:  # a browser has six connections for one host
        tab.open("/?currency=GBP&plan_tier=free")
        tab.hide(True)
        wait_until(lambda: hub.viewers == 0, seconds=10, what="the tab's connection is closed")
    amount = gold_row(newest, plan_tier="free", region="emea", currency="GBP", gross_amount=Decimal("77.0500"),
                      updated_at=datetime.now(UTC))  # fmt: skip
    stage.topic.publish(amount)
    first.hide(False)
    first.see(lambda one: one.figures().get(start) == "77.05 GBP", what="what it missed")
    assert (hub.viewers, first.page.get_attribute("#live", "data-state")) == (1, "live")
    first.close()


def test_sources_that_are_away_are_shown_and_come_back_by_themselves(
    browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]
) -> None:
    stage, address, _ = scene
    viewer = Viewer(browser, address).open()
    before = viewer.text("#total-net")
    stage.topic.away = away()
    viewer.see(lambda one: "The live feed is away" in one.text("#notices"), what="the broker is away")
    assert viewer.text("#total-net") == before, "what was heard still stands there"
    viewer.picture("broker-away")
    stage.topic.away, stage.host_error = None, away("stream host")
    viewer.see(lambda one: "stream host does not answer" in one.text("#notices"), what="the host is away")
    viewer.picture("host-away")
    stage.host_error = None
    stage.streams = waiting(running(), "bronze")
    viewer.see(lambda one: "Waits for kafka" in one.text("#streams"), what="a stream waits")
    stage.streams = [replace(one, valid_until=datetime.now(UTC)) for one in running()]
    viewer.see(
        lambda one: one.page.locator("#streams .pill[data-is=unknown]").count() == 4, what="unknown, never stale green"
    )
    assert viewer.page.locator("#streams .pill[data-is=ok]").count() == 0
    viewer.picture("streams-unknown")
    stage.streams = running()
    gone = stage.settings.marts_path.with_suffix(".gone")
    stage.settings.marts_path.rename(gone)
    viewer.see(lambda one: "The marts are gone since" in one.text("#notices"), what="the marts are away")
    viewer.picture("marts-away")
    gone.rename(stage.settings.marts_path)
    viewer.see(lambda one: one.text("#notices") == "" and one.page.locator("#streams .pill[data-is=ok]").count() == 4,
               what="all is back")  # fmt: skip
    assert {one.observed for one in stage.streams} == {Observed.RUNNING}
    viewer.close()


def test_a_dashboard_that_ended_is_shown_and_its_return_too(browser: Browser, tmp_path: Path) -> None:
    stage, _ = staged(own_settings(tmp_path), hours=1, restate=False)
    with served(stage) as address:
        viewer = Viewer(browser, address).open()
        viewer.see(lambda one: one.page.get_attribute("#live", "data-state") == "live", what="live")
    viewer.see(lambda one: "No connection to the dashboard" in one.text("#notices"), what="the end is noticed")
    viewer.picture("dashboard-away")
    with served(stage):
        viewer.see(lambda one: one.page.get_attribute("#live", "data-state") == "live", what="live again")
        assert viewer.text("#notices") == ""
        viewer.close()


def test_marts_swapped_200_times_under_a_viewer_disturb_nothing(browser: Browser, tmp_path: Path) -> None:
    stage, rows = staged(own_settings(tmp_path), hours=0.25, restate=False)
    with served(stage) as address:
        viewer = Viewer(browser, address).open("/?currency=EUR")
        answers = []
        for _ in range(200):
            copy = stage.settings.marts_path.with_suffix(".copy")
            copy.write_bytes(stage.settings.marts_path.read_bytes())
            copy.replace(stage.settings.marts_path)
            answers.append(viewer.page.request.get(f"{address}/api/windows/tumbling?currency=EUR&limit=1").status)
        assert set(answers) == {200}
        refresh_marts(stage.settings, refreshed_at=datetime.now(UTC))
        expected = tumbling(rows, "EUR")
        viewer.see(lambda one: one.text("#notices") == "" and len(one.figures()) > 0, what="nothing is amiss")
        assert viewer.figures() == {start: f"{cents(expected[start])} EUR" for start in viewer.figures()}
        viewer.close()


def test_hostile_text_in_every_field_stays_text(browser: Browser, tmp_path: Path) -> None:
    settings = own_settings(tmp_path)
    now = datetime.now(UTC)
    rows = [
        gold_row(row["window_start"], plan_tier=HOSTILE, region=HOSTILE, currency=HOSTILE[:40], updated_at=now)
        for row in staged(own_settings(tmp_path / "other"), hours=0.25, restate=False)[1][:200:28]
    ]
    fill_lake(settings, rows, now=now, watermark=now, detail=HOSTILE, key=HOSTILE.encode())
    refresh_marts(settings, refreshed_at=now)
    streams = [replace(running()[0], name=HOSTILE, waiting_for=HOSTILE, observed=Observed.WAITING)]
    stage = Stage(settings, streams=streams, host_error=None)
    stage.topic.publish(*rows)
    with served(stage) as address:
        viewer = Viewer(browser, address).open("/?region=%3Cscript%3Ewindow.hacked=1%3C/script%3E&currency=%3Cb%3E")
        viewer.open("/")
        viewer.see(lambda one: one.page.locator("#dead summary").count() > 0, what="dead letters")
        viewer.page.locator("#dead summary").first.click()
        viewer.page.wait_for_selector(".samples code")
        stage.topic.away = away(HOSTILE)
        viewer.see(lambda one: one.text("#notices") != "", what="a notice")
        assert viewer.page.evaluate("window.hacked") is None
        assert viewer.page.locator("img, iframe, script:not([src])").count() == 0
        assert viewer.faults == []
        assert HOSTILE[:20] in viewer.text("#tiers")
        assert "\u202e" not in viewer.text("body"), "nothing turns the direction of the text"
        viewer.picture("hostile-text")
        viewer.close()


def test_a_page_that_asks_for_a_token_shows_nothing_without_it(browser: Browser, tmp_path: Path) -> None:
    stage, _ = staged(own_settings(tmp_path), hours=0.25, restate=False)
    stage.settings = stage.settings.model_copy(update={"dashboard_token": SecretStr("s3cret")})
    with served(stage) as address:
        viewer = Viewer(browser, address).open(shows="#sign-in:not([hidden])")
        assert viewer.page.locator("main").is_hidden()
        viewer.picture("sign-in")
        viewer.page.fill("#token", "s3cret")
        viewer.page.keyboard.press("Enter")
        viewer.page.wait_for_selector("#windows tbody tr")
        viewer.see(lambda one: one.text("#dead-sum") != "", what="the API takes the token too")
        viewer.close()


def test_a_proxy_may_serve_the_page_below_a_path(browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]) -> None:
    viewer, outside = Viewer(browser, scene[1]), list[str]()

    def proxied(route: Route) -> None:
        inside = "/rtap/" in route.request.url
        if not inside:
            outside.append(route.request.url)
        route.continue_(url=route.request.url.replace("/rtap/", "/"))

    viewer.page.route("**/*", proxied)
    viewer.open("/rtap/?currency=EUR")
    viewer.see(lambda one: one.text("#dead-sum") != "" and one.text("#checks-sum") != "", what="figures and API")
    viewer.page.get_by_role("link", name="API for programs").click()
    viewer.page.wait_for_selector(".endpoint")
    assert f"{scene[1]}/rtap/api/revenue" in viewer.text("#endpoints")
    viewer.page.get_by_role("link", name="Back to the figures").click()
    viewer.page.wait_for_selector("#windows tbody tr")
    assert (outside, viewer.faults) == ([], [])
    viewer.close()


def test_without_javascript_the_page_says_so(browser: Browser, scene: tuple[Stage, str, list[dict[str, Any]]]) -> None:
    viewer = Viewer(browser, scene[1], java_script_enabled=False).open(shows="noscript")
    assert "This page needs JavaScript." in viewer.text("body")
    assert not viewer.page.locator("main").is_visible(), "no empty figures, nothing that claims to be connecting"
    viewer.picture("no-javascript")
    viewer.close()


def test_an_empty_platform_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    with served(Stage(own_settings(tmp_path))) as address:
        viewer = Viewer(browser, address, bypass_csp=True).open(shows="#live[data-state=live]")
        viewer.see(lambda one: "rtap generate" in one.text("#chart-empty"), what="the next step")
        assert "There are no marts yet." in viewer.text("#notices")
        viewer.picture("empty")
        assert viewer.barriers() == []
        viewer.close()
