"""The page's files: vendored ones are what was published, none has a script or style of its own inside."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.dashboard.pages import load_assets

STATIC = PROJECT_ROOT / "rtap_assets" / "dashboard" / "static"
SUMS = (STATIC / "vendor" / "uPlot-1.6.32.sha256", PROJECT_ROOT / "tests" / "data" / "axe-core" / "axe-core-4.14.1.sha256")


@pytest.mark.parametrize("sums", SUMS, ids=lambda path: path.stem)
def test_what_is_vendored_is_what_was_published_with_its_license(sums: Path) -> None:
    expected = dict(reversed(line.split()) for line in sums.read_text(encoding="ascii").splitlines())
    found = {name: hashlib.sha256((sums.parent / name).read_bytes()).hexdigest() for name in expected}
    assert found == expected
    assert any("LICENSE" in name for name in expected)


@pytest.mark.parametrize("name", ["index.html", "api.html"])
def test_a_page_holds_no_script_style_or_handler_and_no_foreign_address(name: str) -> None:
    text = (STATIC / name).read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=|https?://", text) == []


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_makes_markup_of_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text) == []


def test_every_file_that_a_page_names_is_served() -> None:
    assets = load_assets()
    named = {
        name
        for file in (*STATIC.glob("*.html"), *STATIC.glob("*.js"))
        for name in re.findall(r'(?:src|href)="(static/[^"]+)"|from "\./([^"]+)"', file.read_text(encoding="utf-8"))
    }
    paths = {f"/{of_page}" if of_page else f"/static/{of_script}" for of_page, of_script in named}
    assert paths <= set(assets)
    assert len(paths) > 8


@pytest.mark.parametrize("path", [*STATIC.glob("*.html"), *STATIC.glob("*.js")], ids=lambda path: path.name)
def test_no_address_begins_at_the_root_so_that_a_proxy_may_serve_the_page_below_a_path(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)="/|(?:fetch|read)\(["`]/|\["/api|=\s*["`]/(?:api|events|static)""", text) == []


@pytest.mark.parametrize("name", ["index.html", "api.html"])
def test_a_page_says_what_to_do_without_javascript(name: str) -> None:
    assert "<noscript>" in (STATIC / name).read_text(encoding="utf-8")
