"""The dashboard as a viewer sees it: a real Chromium on one address, with what is written there and a picture of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserType, Page, Route, sync_playwright
from polling import wait_until

from rtap_assets.config import PROJECT_ROOT

PICTURES = Path(os.environ.get("UI_SCREENSHOTS") or PROJECT_ROOT / ".screenshots")
AXE = PROJECT_ROOT / "tests" / "data" / "axe-core" / "axe.min.js"
LOOPBACK = "127.0.0.1"
SERIOUS = {"serious", "critical"}
# Texts that are wider than their box.
TOO_WIDE = """[...document.querySelectorAll('main dd, main td, main h2, main .value, main .name, main .figure, main .pill')]
    .filter(one => one.offsetParent && one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the browser; without it the test is skipped, but never in CI."""
    path = shutil.which("chromium")
    if path is None:
        reason = "there is no Chromium on this machine, so the dashboard is not tested (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright, launched(playwright.chromium, path) as browser:
        yield browser


@contextmanager
def launched(kind: BrowserType, path: str, *options: str) -> Iterator[Browser]:
    """Yield a browser of the program at `path`, with more options of its command line."""
    browser = kind.launch(executable_path=path, args=[*(["--no-sandbox"] if os.geteuid() == 0 else []), *options])
    yield browser
    browser.close()


class Viewer:
    """One viewer: a window of a size, light or dark. `faults` are errors of scripts and what the policy refused."""

    def __init__(
        self,
        browser: Browser,
        address: str,
        *,
        width: int = 1440,
        dark: bool = False,
        page: Page | None = None,
        **context: Any,
    ) -> None:
        height = 900 if width < 2_000 else 2_000
        scheme: Any = "dark" if dark else "light"
        if page is None:
            page = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, **context
            ).new_page()
        self.page, self._context = page, page.context
        self.address, self.faults, self.strangers = address, list[str](), list[str]()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda one: self.faults.append(one.text) if "Content Security" in one.text else None)
        self.page.route("**/*", self._let_through)

    def _let_through(self, route: Route) -> None:
        if urlsplit(route.request.url).hostname != LOOPBACK:
            self.strangers.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    def open(self, path: str = "/", *, shows: str = "#windows tbody tr") -> Viewer:
        """Go to the page and wait until an element is there."""
        self.page.goto(f"{self.address}{path}")
        self.page.wait_for_selector(shows, timeout=30_000)
        return self

    def hide(self, is_hidden: bool) -> None:
        """Have the page believe that its tab is behind another one, or in front again: a headless browser hides none."""
        self.page.evaluate(
            """is => {
                Object.defineProperty(document, 'hidden', {value: is, configurable: true});
                document.dispatchEvent(new Event('visibilitychange'));
            }""",
            is_hidden,
        )

    def text(self, selector: str) -> str:
        """Return what is written in an element."""
        return self.page.inner_text(selector)

    def see(self, condition: Callable[[Viewer], bool], *, what: str, seconds: float = 30) -> None:
        """Wait until something is so; the browser goes on meanwhile."""

        def looked() -> bool:
            self.page.wait_for_timeout(20)
            return condition(self)

        wait_until(looked, seconds=seconds, what=what)

    def figures(self) -> dict[int, str]:
        """Return the net figures of the table of windows, by the start of the window in milliseconds."""
        script = "rows => rows.map(row => [Number(row.dataset.start), row.children[1].textContent])"
        return dict(self.page.eval_on_selector_all("#windows tbody tr", script))

    def status_of(self, start_ms: int) -> tuple[str, str]:
        """Return the status of a window in the table, and what is written of its restatement."""
        cells = self.page.locator(f'#windows tbody tr[data-start="{start_ms}"] td')
        return cells.nth(4).inner_text(), cells.nth(5).inner_text()

    def picture(self, name: str) -> None:
        """Keep what is seen now."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"dashboard-{name}.png", full_page=True, animations="disabled")

    def assert_fits(self, width: int) -> None:
        """Assert that neither the page nor a text in it is wider than its room."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
        assert self.page.evaluate(TOO_WIDE) == []

    def barriers(self) -> list[tuple[str, str]]:
        """Return what axe finds that is serious: rule, and the first element that breaks it. Needs `bypass_csp`."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        script = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"
        return [(one["id"], one["nodes"][0]["html"]) for one in self.page.evaluate(script) if one["impact"] in SERIOUS]

    def close(self) -> None:
        self._context.close()
