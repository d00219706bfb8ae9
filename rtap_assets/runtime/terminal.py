"""The width of the terminal, and sentences that are wrapped to it."""

from __future__ import annotations

import shutil
import textwrap

NARROWEST, WIDEST = 60, 120


def text_width() -> int:
    """Return the columns that sentences may take: those of the terminal, within bounds; 80 where there is none."""
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)


def wrapped(text: str, *, hanging: int = 4) -> list[str]:
    """Return the text in lines of at most `text_width`; lines that continue it are indented by `hanging` more columns."""
    lead = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(text.lstrip(), text_width(), initial_indent=lead, subsequent_indent=lead + " " * hanging) or [""]
