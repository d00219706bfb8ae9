"""What must hold of the repository as a whole: file sizes, no hosts of package registries, pages that match the code."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts import currencies
from rtap_assets.contracts.rules import EVENT_TYPES, EXPLANATIONS, PLAN_TIERS, REGIONS, Reason

MOST_LINES = 400
# Written in halves, so that this file does not contain them.
REGISTRY_HOSTS = [
    "pypi" + ".org", "python" + "hosted", "repo1" + ".maven", "repo.maven" + ".apache", "maven" + "-central",
    "docker" + ".io", "quay" + ".io", "ghcr" + ".io", "npmjs" + ".org",
]  # fmt: skip
UNSEARCHED = {
    ".git",
    ".venv",
    ".venv-docs",
    "site",
    ".rtap",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    "__pycache__",
    "results",
}


def files_of_the_repository() -> Iterator[Path]:
    for folder, below, names in os.walk(PROJECT_ROOT):
        below[:] = [name for name in below if name not in UNSEARCHED and not name.endswith(".egg-info")]
        yield from (Path(folder) / name for name in names if name != ".env")


def sources(folder: str) -> list[Path]:
    return sorted((PROJECT_ROOT / folder).rglob("*.py"))


def table_of(page: str, heading: str) -> dict[str, str]:
    """First column (without back-quotes) -> second column, of the table below a heading."""
    section = page.split(f"## {heading}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", section, flags=re.MULTILINE)
    return dict(rows)


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources("rtap_assets")}
    assert {str(path): length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_no_file_names_the_host_of_a_package_registry() -> None:
    found = []
    for path in files_of_the_repository():
        try:
            text = path.read_text(encoding="utf-8").lower()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(PROJECT_ROOT)}: {host}" for host in REGISTRY_HOSTS if host in text]
    assert found == []


def test_every_reason_code_has_one_sentence() -> None:
    assert list(EXPLANATIONS) == list(Reason)
    assert [text for text in EXPLANATIONS.values() if not text.endswith(".")] == []


def test_the_contract_page_lists_the_reason_codes_in_the_order_of_judgement() -> None:
    page = (PROJECT_ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    listed = table_of(page, "Reason codes")
    expected = {reason.value: sentence for reason, sentence in EXPLANATIONS.items()}
    assert list(listed.items()) == list(expected.items()), "the table must be:\n" + "\n".join(
        f"| `{code}` | {sentence} |" for code, sentence in expected.items()
    )


@pytest.mark.parametrize("field, spellings", [("event_type", EVENT_TYPES), ("plan_tier", PLAN_TIERS), ("region", REGIONS)])
def test_the_contract_page_lists_every_accepted_spelling(field: str, spellings: dict[str, str]) -> None:
    page = (PROJECT_ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    listed = re.findall(r"`([a-z_]+)`(?: \(also (.+?)\))?", table_of(page, "Codes")[field])
    accepted = {value: value for value, _ in listed}
    accepted |= {alias: value for value, aliases in listed for alias in re.findall(r"`([a-z_]+)`", aliases)}
    assert accepted == spellings


def test_currencies_are_three_capital_letters() -> None:
    codes = currencies.ACTIVE | currencies.IN_FORCE_UNTIL.keys()
    assert [code for code in codes if not re.fullmatch("[A-Z]{3}", code)] == []


def test_make_alone_prints_every_target_with_one_line() -> None:
    done = subprocess.run(["make", "--no-print-directory"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE).group(1).split()) - {"FORCE"}
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == phony
