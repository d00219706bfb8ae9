"""`.env.example` documents every setting of `config.py`, with its description and its default, and nothing else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT, Settings, load_settings

EXAMPLE = PROJECT_ROOT / ".env.example"


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RTAP_")]:
        monkeypatch.delenv(name)


def entry(name: str) -> str:
    """The two lines that document one field."""
    field = Settings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    if default is None:
        text = ""
    elif isinstance(default, Path):
        text = str(default).replace(f"{PROJECT_ROOT}/", "").replace(str(Path.home()), "~")
    elif hasattr(default, "get_secret_value"):
        text = default.get_secret_value()
    elif isinstance(default, list | dict):
        text = json.dumps(default)
    else:
        text = f"{default:g}" if isinstance(default, float) else str(default)
    return f"# {field.description}\n#RTAP_{name.upper()}={text}\n"


def test_every_setting_is_documented_with_description_and_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    text = EXAMPLE.read_text(encoding="utf-8")
    missing = [entry(name) for name in Settings.model_fields if entry(name) not in text]
    assert not missing, "put these lines into .env.example (in place of what it says of them now):\n" + "\n".join(missing)


def test_nothing_else_is_documented() -> None:
    documented = re.findall(r"^#?(\w+)=", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    fields = [f"RTAP_{name.upper()}" for name in Settings.model_fields]
    unknown = sorted(set(documented) - set(fields))
    assert not unknown, f"remove from .env.example: {unknown}"
    assert len(documented) == len(set(documented)), "a setting is documented twice in .env.example"


def test_taking_every_line_as_it_stands_changes_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(PROJECT_ROOT)
    everything = tmp_path / "env"
    everything.write_text(EXAMPLE.read_text(encoding="utf-8").replace("#RTAP_", "RTAP_"), encoding="utf-8")
    assert load_settings(_env_file=everything) == load_settings(_env_file=None)


def test_the_file_as_shipped_sets_nothing() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
