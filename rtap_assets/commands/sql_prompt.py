"""The prompt of `rtap sql`: statements end with `;`, may take several lines, and are kept in a history."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from rtap_assets.errors import RtapError

FIRST, NEXT = "rtap> ", "  ... "
LEAVING = frozenset({"exit", "quit", ".exit", ".quit", "\\q"})
HISTORY_LINES = 1000
GREETING = 'A query ends with ";". Ctrl-C drops it or stops it, Ctrl-D leaves. `SHOW ALL TABLES;` lists the tables.'


def run_prompt(answer: Callable[[str], None], *, history: Path, read: Callable[[str], str] = input) -> None:
    """Read statements and pass each to `answer` until the end of the input; a failed one ends nothing."""
    click.echo(GREETING)
    with _line_editing(history):
        for statement in statements(read):
            try:
                answer(statement)
            except RtapError as error:
                click.secho(f"error: {error.message}", fg="red", err=True)
                if error.remedy:
                    click.echo(f"  -> {error.remedy}", err=True)
            except KeyboardInterrupt:
                click.echo("stopped", err=True)


def statements(read: Callable[[str], str]) -> Iterator[str]:
    """Yield what is typed, up to a line that ends with `;`; Ctrl-C drops the lines so far, Ctrl-D (or `exit`) ends."""
    lines: list[str] = []
    while True:
        try:
            line = read(NEXT if lines else FIRST)
        except KeyboardInterrupt:
            lines = []
            click.echo()
            continue
        except EOFError:
            click.echo()
            return
        if not lines and line.strip().rstrip(";").lower() in LEAVING:
            return
        if line.strip() or lines:
            lines.append(line)
        if line.rstrip().endswith(";"):
            statement = "\n".join(lines).strip().rstrip(";")
            lines = []
            if statement.strip():
                yield statement


@contextmanager
def _line_editing(history: Path) -> Iterator[None]:
    """Give `input` line editing and a history across sessions, where Python has readline."""
    try:
        readline = importlib.import_module("readline")
    except ImportError:  # a Python built without it; the prompt works all the same
        yield
        return
    readline.set_history_length(HISTORY_LINES)
    if history.exists():
        readline.read_history_file(history)
    try:
        yield
    finally:
        history.parent.mkdir(parents=True, exist_ok=True)
        readline.write_history_file(history)
