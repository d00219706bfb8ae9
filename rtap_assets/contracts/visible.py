"""Text of other people made safe to show: nothing in it can move a cursor, hide characters or break a table.

For terminals, Markdown and logs. What is shown is not what is stored: raw bytes stay in bronze.
"""

from __future__ import annotations

import unicodedata

# Control, format (bidirectional overrides, zero-width), surrogate, private, unassigned, line and paragraph separators.
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
CUT = "…"
MARKDOWN = str.maketrans({character: f"&#{ord(character)};" for character in "&<>|`*_[]()#!~\\$@"} | {"\n": " ", "\r": " "})


def visible(text: str | bytes | None, *, limit: int = 200) -> str:
    """Return the text with every character that does not show itself written as an escape (`\\x1b`, `\\u202e`).

    Bytes are read as UTF-8; those that are not are escaped too. More than `limit` characters end in an ellipsis; nothing
    at all is a hyphen.
    """
    if text is None:
        return "-"
    # Four bytes at most make one character, and reading on would only be thrown away.
    read = text[: 4 * limit + 4].decode("utf-8", errors="backslashreplace") if isinstance(text, bytes) else text
    shown = "".join(_escaped(character) for character in read[: limit + 1])
    return shown if len(shown) <= limit else shown[: max(0, limit - 1)] + CUT


def visible_markdown(text: str | bytes | None, *, limit: int = 120) -> str:
    """Return the text for a cell of a Markdown table: visible, and without effect on markup or HTML."""
    return visible(text, limit=limit).translate(MARKDOWN)


def shown_bytes(data: bytes | None, *, limit: int = 32) -> str:
    """Return the first bytes in hexadecimal, two digits each, and how many there are."""
    if data is None:
        return "none"
    return f"{data[:limit].hex(' ')}{' ' + CUT if len(data) > limit else ''} ({len(data):,} bytes)".lstrip()


def _escaped(character: str) -> str:
    category = unicodedata.category(character)
    if category in INVISIBLE or (category == "Zs" and character != " "):
        number = ord(character)
        return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return character
