"""The runbook against the code: states, codes, metrics and the words of messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from rtap_assets import errors
from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.host.metrics import metric_names
from rtap_assets.quality.catalog import CHECKS
from rtap_assets.streaming.failures import AWAY
from rtap_assets.streaming.lifecycle.query_watch import JVM_GONE
from rtap_assets.streaming.model.states import Observed

PAGE = (PROJECT_ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SOURCES = sorted((PROJECT_ROOT / "rtap_assets").rglob("*.py"))
LEAST_WORTH_FINDING = 4


def test_every_observed_state_has_an_entry() -> None:
    states = re.findall(r"^\| `(\w+)` \|", section("States"), flags=re.MULTILINE)
    assert states == [state.value for state in Observed]


def test_every_failure_code_is_on_the_page() -> None:
    own = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.RtapError)}
    literal = set(literal_codes())
    assert len(literal) >= 5
    codes = {f"{dependency}_away" for dependency in AWAY} | {JVM_GONE.code} | own | literal
    assert {code for code in codes if f"`{code}`" not in section("Stream host")} == set()


def test_every_reason_code_has_a_row() -> None:
    assert {reason.value for reason in Reason if f"`{reason.value}`" not in section("Dead letters")} == set()


def test_every_blocking_check_has_a_row() -> None:
    rows = re.findall(r"^\| (\w+) `(\w+)` \|", section("Quality checks"), flags=re.MULTILINE)
    blocking = {(check.spec.namespace, check.name) for check in CHECKS.values() if check.blocking}
    assert set(rows) == blocking


def test_every_metric_has_a_row() -> None:
    metrics = re.findall(r"^\| `(rtap_\w+)` \|", section("Metrics and the Grafana dashboard"), flags=re.MULTILINE)
    assert set(metrics) == metric_names()


def test_every_setting_that_the_page_names_exists() -> None:
    known = {f"RTAP_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"`(RTAP_[A-Z_]*[A-Z])(?=[`=])", PAGE)) - known == set()


def test_every_message_is_in_the_words_of_the_code() -> None:
    spoken = "\n".join(text for path in SOURCES for text in constants(path.read_text(encoding="utf-8")))
    missing = [part for message in quoted_messages() for part in parts_of(message) if part not in spoken]
    assert missing == []


def test_no_message_is_repeated_that_carries_its_own_remedy() -> None:
    """Such a message is on the page only where data are at risk, or beside others in one row."""
    with_remedy = [text for path in SOURCES for text in messages_with_remedy(path.read_text(encoding="utf-8"))]
    repeated = [
        row
        for row in message_rows()
        if row.endswith("| no |") and all(is_among(message, with_remedy) for message in messages_of(row))
    ]
    assert repeated == []


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([a-z-]+)\)", PAGE))))
def test_every_link_within_the_page_has_its_heading(anchor: str) -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]


def literal_codes() -> Iterator[str]:
    """Yield the codes that a call names: of failures, and of the API's answers."""
    for path in SOURCES:
        if not {"host", "streaming"} & set(path.parts):
            continue
        text = path.read_text(encoding="utf-8")
        yield from re.findall(r'FailureNote\(\s*"(\w+)"', text)
        yield from re.findall(r'Diagnosis\(\s*verdict,\s*"(\w+)"', text)
        yield from re.findall(r'error_response\(\s*\d+,\s*"(\w+)"', text)
        yield from (code for pair in re.findall(r'\b4\d\d: "(\w+)"|status_code, "(\w+)"', text) for code in pair if code)


def constants(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def messages_with_remedy(source: str) -> Iterator[str]:
    """Yield the first argument of each call that also gives a remedy, its pieces joined by an ellipsis."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args and any(keyword.arg == "remedy" for keyword in node.keywords):
            yield "…".join(constants(ast.unparse(node.args[0])))


def is_among(message: str, texts: list[str]) -> bool:
    parts = parts_of(message)
    return bool(parts) and any(all(part in text for part in parts) for text in texts)


def message_rows() -> Iterator[str]:
    """Yield the rows of the tables of messages."""
    for table in re.findall(r"^\| message \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE):
        yield from table.splitlines()


def messages_of(row: str) -> list[str]:
    """Return what stands in back-quotes in the first column."""
    first = row.split(" | ", maxsplit=1)[0].replace("``", "\0")
    return [message.replace("\0", "`") for message in re.findall(r"`([^`]+)`", first)]


def quoted_messages() -> Iterator[str]:
    for row in message_rows():
        yield from messages_of(row)


def parts_of(message: str) -> list[str]:
    """The words between what varies; the shortest pieces say nothing."""
    return [part.strip() for part in message.split("…") if len(part.strip()) >= LEAST_WORTH_FINDING]
