"""The prompt of `rtap sql`: what counts as a statement, what Ctrl-C and Ctrl-D do, the history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rtap_assets.commands.sql_prompt import FIRST, NEXT, run_prompt, statements
from rtap_assets.errors import ServingError

CTRL_C, CTRL_D = KeyboardInterrupt, EOFError


def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """Return a reader of these lines, then the end of the input."""
    waiting = [*lines, CTRL_D]

    def read(_prompt: str) -> str:
        line = waiting.pop(0)
        if isinstance(line, str):
            return line
        raise line

    return read


def test_a_statement_goes_on_until_a_semicolon() -> None:
    assert list(statements(typed("SELECT 1,", "  2;", "", "FROM gold ; "))) == ["SELECT 1,\n  2", "FROM gold "]


def test_the_prompt_says_whether_a_statement_goes_on() -> None:
    shown = []

    def read(prompt: str) -> str:
        shown.append(prompt)
        if len(shown) == 3:
            raise CTRL_D
        return ["SELECT 1", ";"][len(shown) - 1]

    assert [one.strip() for one in statements(read)] == ["SELECT 1"]
    assert shown == [FIRST, NEXT, FIRST]


def test_ctrl_c_drops_the_lines_so_far() -> None:
    assert list(statements(typed("SELECT oops", CTRL_C, "SELECT 2;"))) == ["SELECT 2"]


@pytest.mark.parametrize("word", ["exit", "quit;", ".exit", "\\q"])
def test_a_word_leaves_the_prompt(word: str) -> None:
    assert list(statements(typed(word, "SELECT 1;"))) == []


def test_a_semicolon_alone_asks_nothing() -> None:
    assert list(statements(typed(";", "  ;"))) == []


def test_a_failed_or_stopped_query_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def answer(statement: str) -> None:
        asked.append(statement)
        if statement == "bad":
            raise ServingError("no such table", remedy="Tables: gold.")
        if statement == "long":
            raise KeyboardInterrupt

    run_prompt(answer, history=tmp_path / "logs" / "history", read=typed("bad;", "long;", "good;"))
    assert asked == ["bad", "long", "good"]
    shown = capsys.readouterr()
    assert shown.err.splitlines() == ["error: no such table", "  -> Tables: gold.", "stopped"]


def test_the_history_is_kept_beside_the_logs(tmp_path: Path) -> None:
    readline = pytest.importorskip("readline")
    readline.clear_history()
    readline.add_history("FROM gold;")
    run_prompt(lambda _: None, history=tmp_path / "logs" / "history", read=typed())
    assert "FROM gold;" in (tmp_path / "logs" / "history").read_text(encoding="utf-8")
