"""Renders untrusted text safely: nothing in it can move a cursor, hide characters or break a table.

For terminals, Markdown and logs. Only the display is escaped: bronze keeps the raw bytes.
"""

from __future__ import annotations

import unicodedata

# Control, format (bidirectional overrides, zero-width), surrogate, private, unassigned, line and paragraph separators.
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
CUT = "…"
MARKDOWN = str.maketrans({character: f"&#{ord(character)};" for character in "&<>|`*_[]()#!~\\$@"} | {"\n": " ", "\r": " "})


def visible(text: str | bytes | None, *, limit: int = 200) -> str:
    """Return the text with every invisible character written as an escape (`\\x1b`, `\\u202e`).

    Bytes are decoded as UTF-8; invalid ones are escaped. Text of more than `limit` characters ends in an ellipsis; None
    becomes a hyphen.
    """
    if text is None:
        return "-"
    # A character takes four bytes at most; anything beyond would be cut off.
    read = text[: 4 * limit + 4].decode("utf-8", errors="backslashreplace") if isinstance(text, bytes) else text
    shown = "".join(_escaped(character) for character in read[: limit + 1])
    return shown if len(shown) <= limit else shown[: max(0, limit - 1)] + CUT


def visible_markdown(text: str | bytes | None, *, limit: int = 120) -> str:
    """Return the text for a cell of a Markdown table: visible, and without effect on markup or HTML."""
    return visible(text, limit=limit).translate(MARKDOWN)


def shown_bytes(data: bytes | None, *, limit: int = 32) -> str:
    """Return the first bytes in hexadecimal, two digits each, and the total number of bytes."""
    if data is None:
        return "none"
    return f"{data[:limit].hex(' ')}{' ' + CUT if len(data) > limit else ''} ({len(data):,} bytes)".lstrip()


def _escaped(character: str) -> str:
    category = unicodedata.category(character)
    if category in INVISIBLE or (category == "Zs" and character != " "):
        number = ord(character)
        return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return character
