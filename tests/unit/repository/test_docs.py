"""The documentation against the code: the reference is generated, tutorials are what tests run, the site has every page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from additions import CHECK, MART

from rtap_assets.config import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
AROUND = {"", "PASS_CHECKS += (", ")", "CHECKS = {"}
README = PROJECT_ROOT / "README.md"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def links(path: Path) -> list[tuple[str, str]]:
    """The relative links of a page, as file and anchor."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL))
    return [tuple((*link.split("#", 1), "")[:2]) for link in found if not re.match(r"https?:", link)]  # type: ignore[misc]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"`|\[(.*?)\]\(.*?\)", r"\1", heading)).lower() for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


def test_the_reference_is_as_the_code() -> None:
    command = [sys.executable, str(PROJECT_ROOT / "tools" / "generate_reference.py"), "--check"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [README, PROJECT_ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    for file, anchor in links(path):
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(f"{file}#{anchor}")
    assert broken == []


def test_the_site_lists_every_page() -> None:
    listed = set(re.findall(r"[\w/-]+\.md$", (PROJECT_ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {str(path.relative_to(DOCS)) for path in PAGES} == listed


@pytest.mark.parametrize("name, edits", [("tutorial/own-mart.md", MART), ("tutorial/own-check.md", CHECK)])
def test_a_tutorial_shows_what_the_test_of_additions_runs(name: str, edits: tuple[object, ...]) -> None:
    text = page(name)
    for edit in edits:
        added = edit.new.replace(edit.old, "") if edit.old in edit.new else edit.new  # type: ignore[attr-defined]
        lines = [
            line.strip() for line in added.splitlines() if line.strip() not in {"", "PASS_CHECKS += (", ")", "CHECKS = {"}
        ]
        assert [line for line in lines if line not in text] == []


def test_what_spark_is_given_to_open_the_lake_is_what_the_streams_use() -> None:
    ivy = (PROJECT_ROOT / "rtap_assets" / "java" / "ivy.xml").read_text(encoding="utf-8")
    for artifact, version in re.findall(
        r":((?:iceberg-spark-runtime|sqlite-jdbc)[\w.-]*):([\d.]+)", page("how-to/open-the-lake.md")
    ):
        assert f'name="{artifact}" rev="{version}"' in ivy
