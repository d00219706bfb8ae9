"""A command that fails says so in one sentence with the next step; the stack trace is in a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import duckdb
import pytest

from rtap_assets import cli
from rtap_assets.config import PROJECT_ROOT, get_settings
from rtap_assets.errors import StreamError


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("RTAP_STATE_DIR", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def said_of(failure: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What `rtap doctor` writes when it ends with this failure; the exit code must be 1."""

    @click.command()
    def doctor() -> None:
        raise failure

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: doctor)
    monkeypatch.setattr(sys, "argv", ["rtap", "doctor"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    written = capsys.readouterr()
    assert "Traceback" not in written.err + written.out
    return written.err


@pytest.mark.parametrize(
    "failure, sentence",
    [
        (StreamError("It is so.", remedy="Do that."), "error: It is so.\n  -> Do that.\n"),
        (PermissionError(13, "Permission denied", "/lake/catalog.db"), "error: /lake/catalog.db: Permission denied.\n"),
        (
            duckdb.IOException("IO Error: no such file:\nmore"),
            "error: The lake could not be read: IO Error: no such file.\n",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "error: The Java process has ended.\n"),
        (KeyError("snapshot"), "error: The command failed unexpectedly: KeyError: 'snapshot'.\n"),
    ],
    ids=["ours", "permission", "duckdb", "java", "a fault of ours"],
)
def test_a_failure_is_one_sentence_and_the_next_step(
    failure: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_of(failure, monkeypatch, capsys)
    assert said.startswith(sentence)
    assert said.splitlines()[1].startswith("  -> ")
    assert len(said.splitlines()) == 2


def test_the_stack_trace_is_in_the_file_that_the_message_names(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = state_dir / "logs" / "failures.log"
    assert str(log) in said_of(KeyError("snapshot"), monkeypatch, capsys)
    assert "Traceback (most recent call last):" in log.read_text(encoding="utf-8")


def test_no_message_and_no_page_claims_what_was_not_proven() -> None:
    claim = re.compile(r"\bnothing (?:is|was|has been) (?:lost|doubled)|\blost or doubled\b", re.IGNORECASE)
    pages = [PROJECT_ROOT / "README.md", *(PROJECT_ROOT / "docs").rglob("*.md")]
    sources = (PROJECT_ROOT / "rtap_assets").rglob("*.py")
    found = [str(path) for path in (*sources, *pages) if claim.search(path.read_text(encoding="utf-8"))]
    assert found == []
