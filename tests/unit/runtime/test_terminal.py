"""Sentences are as wide as the terminal, within bounds."""

from __future__ import annotations

import pytest

from rtap_assets.runtime.terminal import text_width, wrapped


@pytest.mark.parametrize(("columns", "width"), [("20", 60), ("60", 60), ("80", 80), ("200", 120), ("none", 80)])
def test_the_width_is_that_of_the_terminal_within_bounds(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert text_width() == width


def test_lines_keep_their_indent_and_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = wrapped(f"  detail: {'word ' * 20}{'x' * 70}")
    assert (lines[0][:3], lines[1][:7]) == ("  d", "      w")
    assert max(map(len, lines)) <= 60
    assert wrapped("") == [""]
