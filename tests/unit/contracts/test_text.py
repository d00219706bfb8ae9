"""The text rule in Python: what is trimmed, what is forbidden, and letters of any script."""

from __future__ import annotations

import pytest

from rtap_assets.contracts.text import is_text, trim


@pytest.mark.parametrize(
    "around", ["\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\ufeff", "\u200b", "\x00", "\x7f"]
)
def test_what_surrounds_text_is_trimmed_and_forbidden_within(around: str) -> None:
    assert trim(f"{around}a b{around} {around}") == "a b"
    assert is_text(f"a{around}b") is (around in "\u00a0\u3000")


def test_spaces_and_letters_of_any_script_are_text() -> None:
    assert is_text("Größe 尺寸 🎫 e\u0301")
    assert trim(" \ufeff\t ") == ""
    assert not is_text("\ud83d")
