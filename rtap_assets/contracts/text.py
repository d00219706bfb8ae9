r"""The text rule: surrounding white space and control characters are trimmed; what remains must be valid text.

White space of any kind (Unicode category Z), control characters (Cc, so tabs and line breaks) and format characters (Cf:
byte order mark, zero width, direction marks) are trimmed from both ends of every text field and of the Kafka key. What is
left must be UTF-8 without control or format characters and without line or paragraph separators; spaces within are text.

The patterns are in Java's syntax, for Spark; the functions implement the same rule in Python, without Spark.
"""

from __future__ import annotations

import unicodedata

TRIMMED_CLASS = r"[\p{Z}\p{Cc}\p{Cf}]"
FORBIDDEN_CLASS = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
REPLACEMENT = "\ufffd"  # replaces each byte sequence or character that is not valid text

# The look-behind keeps this linear in a run of white space within a long text.
TRIMMED_ENDS = rf"^{TRIMMED_CLASS}+|(?<!{TRIMMED_CLASS}){TRIMMED_CLASS}++\z"
# Text with nothing to trim and nothing forbidden. A pattern sees bytes that are not UTF-8 as the replacement character.
_END = rf"[!-~[^\p{{Z}}\p{{Cc}}\p{{Cf}}{REPLACEMENT}]]"
_WITHIN = rf"[ -~[^\p{{Cc}}\p{{Cf}}\p{{Zl}}\p{{Zp}}{REPLACEMENT}]]"
CLEAN = rf"{_END}(?:{_WITHIN}*{_END})?"


def trim(text: str) -> str:
    """Return the text without the white space, control and format characters around it."""
    start, end = 0, len(text)
    while start < end and _is_trimmed(text[start]):
        start += 1
    while end > start and _is_trimmed(text[end - 1]):
        end -= 1
    return text[start:end]


def is_text(trimmed: str) -> bool:
    """Return whether trimmed text holds no control or format characters and no line or paragraph separators."""
    return not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in trimmed)


def _is_trimmed(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "Z" or category in ("Cc", "Cf")
