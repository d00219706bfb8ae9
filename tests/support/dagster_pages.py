"""Dagster's UI as a person uses it: pages, buttons and what is written there, in a real Chromium, with a picture of each."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route, expect
from polling import wait_until

from rtap_assets.local.dagster_ui import DEFINITIONS

PATIENCE_SECONDS = 120
EXPECTED_MILLISECONDS = PATIENCE_SECONDS * 1_000
RUN_ENDED = re.compile("^(Success|Failure|Canceled)$")
LOOPBACK = "127.0.0.1"


class DagsterPages:
    """One window of the browser on one webserver. It cannot reach anything else; `refused` is what it tried to."""

    def __init__(self, page: Page, *, port: int, pictures: Path) -> None:
        self.page, self.pictures = page, pictures
        self.refused: list[str] = []
        self._address = f"http://{LOOPBACK}:{port}"
        page.set_default_timeout(EXPECTED_MILLISECONDS)
        expect.set_options(timeout=EXPECTED_MILLISECONDS)
        page.route("**/*", self._let_through)

    def _let_through(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.scheme in {"http", "https"} and address.hostname != LOOPBACK:
            self.refused.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    @property
    def browser(self) -> Browser:
        """The browser that this is a window of."""
        context = self.page.context.browser
        assert context is not None
        return context

    def open(self, path: str, *, shows: str | re.Pattern[str]) -> None:
        """Go to a page and wait for a text on it."""
        self.page.goto(f"{self._address}{path}")
        self.see(shows)

    def see(self, text: str | re.Pattern[str]) -> None:
        """Wait until a text is visible."""
        expect(self.page.get_by_text(text).filter(visible=True).first).to_be_visible()

    @property
    def text(self) -> str:
        """Everything that is written on the page."""
        return self.page.inner_text("body")

    def text_with(self, part: str) -> str:
        """Return everything that is written on the page once a part of it is."""
        self.see(re.compile(re.escape(part)))
        return self.text

    def picture(self, name: str) -> None:
        """Keep what is seen now."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True, animations="disabled")

    def open_asset(self, asset: str, *, view: str, shows: str | re.Pattern[str], more: str = "") -> None:
        """A tab of an asset's page."""
        self.open(f"/assets/{asset}?view={view}{more}", shows=shows)

    def missing_in_graph(self, names: set[str]) -> set[str]:
        """Which of these names no box of the graph bears; a long one is written with an ellipsis in its middle."""
        shown = [text.strip().partition("…") for text in self.page.locator("svg foreignObject *").all_inner_texts()]
        return {name for name in names if not any(_stands_for(part, name) for part in shown)}

    def open_launchpad(self, job: str) -> None:
        """The launchpad of a job, with the config that it offers."""
        self.open(f"/locations/{DEFINITIONS}/jobs/{job}/playground", shows="No errors")

    def launch(self, job: str) -> str:
        """Launch a job from its launchpad as it opens. Returns the run's id; the run's page is open then."""
        self.open_launchpad(job)
        button = self.page.get_by_role("button", name="Launch Run")
        expect(button).to_be_enabled()
        self.picture(f"launchpad-{job}")
        button.click()
        self.page.wait_for_url("**/runs/*-*")
        return urlsplit(self.page.url).path.rpartition("/")[2]

    def end_of_run(self) -> str:
        """Wait on a run's page for its end: Success, Failure or Canceled."""
        ended = self.page.get_by_text(RUN_ENDED).first
        expect(ended).to_be_visible()
        return ended.inner_text()

    def terminate(self) -> None:
        """Cancel the run whose page is open."""
        self.page.get_by_role("button", name="Terminate").click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        self.picture("terminate-dialog")
        dialog.get_by_role("button", name=re.compile("Terminate")).click()

    def row_count(self, asset: str) -> int:
        """The row count on an asset's page; -1 before its first materialisation."""
        self.open_asset(asset, view="overview", shows=re.compile("^(Row count|Never materialized)$"))
        found = re.search(r"^Row count\s+([\d,]+)$", self.text, flags=re.MULTILINE)
        return -1 if found is None else int(found[1].replace(",", ""))

    def checks(self, asset: str) -> dict[str, str]:
        """The list of an asset's checks: name -> what is written below it."""
        self.open_asset(asset, view="checks", shows=re.compile(r"^Checks \(\d+\)$"))
        told = re.findall(
            r"^([a-z_]+)\n(Succeeded|Failed|In Progress|Execution Failed|Not Evaluated)$", self.text, re.MULTILINE
        )
        return dict(told)

    def stream_state(self, asset: str) -> str:
        """The state that the newest result of `stream_state` tells, in capitals."""
        self.open_asset(asset, view="checks", more="&checkDetail=stream_state", shows="read it as UNKNOWN.")
        found = re.search(r"^([A-Z]+) since \d{4}-\d\d-\d\d .*read it as UNKNOWN\.", self.text, flags=re.MULTILINE)
        return "" if found is None else found[1]

    def dismiss(self) -> None:
        """Leave the UI, so that no page of it asks anything of the webserver any more."""
        self.page.goto("about:blank")
        wait_until(lambda: self.page.url == "about:blank", seconds=PATIENCE_SECONDS, what="the page is empty")


def _stands_for(shown: tuple[str, str, str], name: str) -> bool:
    start, ellipsis, end = shown
    return name.startswith(start) and name.endswith(end) and bool(start and end) if ellipsis else start == name
