"""The dashboard on a live system: broker, registry, streams and a generator, as a viewer meets it in a real Chromium.

The tests build on one another, in this order. `test_dashboard_page.py` has what needs no JVM.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from dashboard_pages import Viewer, chromium
from live_system import live_settings
from playwright.sync_api import Browser
from polling import wait_until
from stack_fixtures import silent

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.host.client import StreamsClient
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.local.pid_files import record_of
from rtap_assets.local.processes import start, stop, wait_ready
from rtap_assets.local.services.dashboard import address_of, dashboard_service
from rtap_assets.local.stack import down, up
from rtap_assets.serving.connection import open_lake
from rtap_assets.serving.marts import refresh_marts

RATE = 200
PATIENCE_SECONDS = 60
SUMS = """
SELECT epoch_ms(window_start)::BIGINT, round(sum(net_amount), 2)::DECIMAL(28, 2) FROM gold
WHERE currency = ? AND epoch_us(window_start) % (epoch_us(window_end) - epoch_us(window_start)) = 0 GROUP BY ALL
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def settings(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The whole system but Dagster: streams that run, events at a steady rate, and the dashboard in the background."""
    base = live_settings(tmp_path_factory.mktemp("dashboard") / ".rtap")
    own = base.model_copy(update={"watermark_delay_seconds": 20, "correction_wait_seconds": 20})
    try:
        up(own, streams=True, rate=RATE, echo=silent)
        service = dashboard_service(own)
        wait_ready(service, start(own, service), seconds=PATIENCE_SECONDS)
        with StreamsClient(own) as client:
            for name in STREAM_NAMES:
                client.wait(client.submit(name, "start"))
        yield own
    finally:
        down(own, echo=silent)


@pytest.fixture(scope="module")
def viewer(settings: Settings, browser: Browser) -> Iterator[Viewer]:
    found = Viewer(browser, address_of(settings)).open("/?currency=USD&kind=tumbling")
    yield found
    found.close()


def sums(settings: Settings, currency: str) -> dict[int, str]:
    """Return the net figures of gold's tumbling windows, as the page writes them."""
    with open_lake(settings) as connection:
        rows = connection.execute(SUMS, [currency]).fetchall()
    return {start: f"{amount:,}".replace("-", "−") + f" {currency}" for start, amount in rows}


def agree(settings: Settings, viewer: Viewer) -> bool:
    """Return whether every figure of the table was that of gold at one moment: it did not change while SQL was asked."""
    before = viewer.figures()
    asked = sums(settings, "USD")
    shown = {start: text for start, text in viewer.figures().items() if text != "–"}
    return viewer.figures() == before and len(shown) > 0 and all(asked.get(start) == text for start, text in shown.items())


def test_every_figure_is_that_of_sql_to_the_cent_while_the_streams_run(settings: Settings, viewer: Viewer) -> None:
    viewer.see(lambda one: len(one.figures()) > 0, what="the first figures", seconds=PATIENCE_SECONDS)
    viewer.see(lambda one: agree(settings, one), what="page and gold agree", seconds=PATIENCE_SECONDS)
    viewer.see(lambda one: one.page.locator("#streams .pill[data-is=ok]").count() == 4, what="four streams run")
    viewer.picture("live-system")


def test_the_page_survives_the_broker_and_goes_on(settings: Settings, viewer: Viewer) -> None:
    record = record_of(settings, "kafka")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    viewer.see(
        lambda one: "The live feed is away" in one.text("#notices"), what="the broker is away", seconds=PATIENCE_SECONDS
    )
    assert viewer.figures()
    viewer.picture("live-system-broker-killed")
    up(settings, echo=silent)
    ends = end_offsets(settings, settings.topic_revenue)
    viewer.see(
        lambda one: one.page.get_attribute("#live", "data-state") == "live" and one.text("#notices").find("feed") < 0,
        what="the feed is back", seconds=PATIENCE_SECONDS,
    )  # fmt: skip
    wait_until(
        lambda: sum(end_offsets(settings, settings.topic_revenue).values()) > sum(ends.values()),
        seconds=PATIENCE_SECONDS, what="gold publishes again",
    )  # fmt: skip
    viewer.see(lambda one: agree(settings, one), what="page and gold agree again", seconds=PATIENCE_SECONDS)


def test_a_window_that_a_correction_restated_shows_from_to_and_cause(settings: Settings, viewer: Viewer) -> None:
    # Its late events would make each window provisional again before the next correction ends.
    generator = record_of(settings, "generator")
    assert generator is not None
    assert stop(generator) == "stopped"
    late = GeneratorOptions(events=300, seed=5, delayed=1.0, invalid=0, duplicates=0, span_seconds=60)
    generate(settings, late, echo=silent)
    with StreamsClient(settings) as client:

        def is_restated(one: Viewer) -> bool:
            client.wait(client.submit_for_tables("correct"), seconds=3 * PATIENCE_SECONDS)
            refresh_marts(settings, refreshed_at=datetime.now(UTC))
            one.page.wait_for_timeout(3_000)
            rows = [one.status_of(start) for start in one.figures()]
            return any(status == "Restated" and "→" in change and "(late" in change for status, change in rows)

        viewer.see(is_restated, what="a restated window", seconds=4 * PATIENCE_SECONDS)
    viewer.see(lambda one: agree(settings, one), what="page and gold agree after the correction", seconds=PATIENCE_SECONDS)
    viewer.picture("live-system-restated")
    assert viewer.faults == []
    assert viewer.strangers == []
