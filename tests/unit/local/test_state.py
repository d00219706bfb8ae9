"""`rtap reset` removes the state folder and never anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT, Settings, load_settings, settings_environment
from rtap_assets.errors import LocalStackError
from rtap_assets.local.processes import Service, start, stop
from rtap_assets.local.stack import reset
from rtap_assets.local.state import claim_state_dir


def silent(_: str) -> None:
    pass


def test_reset_removes_the_state_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path / ".rtap")
    claim_state_dir(settings)
    (settings.lake_dir / "warehouse").mkdir(parents=True)
    (settings.state_dir / "notes-of-a-later-version").touch()
    (tmp_path / "precious").touch()
    reset(settings, echo=silent)
    assert [entry.name for entry in tmp_path.iterdir()] == ["precious"]
    reset(settings, echo=silent)  # a second time: nothing to remove


def a_folder_with_other_things(tmp_path: Path) -> Path:
    (tmp_path / "holiday.jpg").touch()
    return tmp_path


def a_link_to_a_state_folder(tmp_path: Path) -> Path:
    (tmp_path / "real" / "lake").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    return tmp_path / "link"


def a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file"


@pytest.mark.parametrize(
    "make", [a_folder_with_other_things, a_link_to_a_state_folder, a_file, lambda _: PROJECT_ROOT, lambda _: Path.home()]
)
def test_reset_refuses_what_does_not_look_like_a_state_folder_and_touches_nothing(make, tmp_path: Path) -> None:
    folder = make(tmp_path)
    before = sorted(folder.iterdir()) if folder.is_dir() else None
    with pytest.raises(LocalStackError, match="was not removed"):
        reset(load_settings(state_dir=folder), echo=silent)
    assert (sorted(folder.iterdir()) if folder.is_dir() else None) == before


def test_a_folder_that_holds_other_things_is_never_claimed(tmp_path: Path) -> None:
    settings = load_settings(state_dir=a_folder_with_other_things(tmp_path))
    claim_state_dir(settings)
    with pytest.raises(LocalStackError, match=r"holds holiday\.jpg"):
        reset(settings, echo=silent)


def test_reset_refuses_while_something_runs(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path / ".rtap")
    record = start(settings, Service(name="kafka", title="Kafka broker", command=["sleep", "60"], is_ready=lambda: True))
    with pytest.raises(LocalStackError, match="Still running: Kafka broker"):
        reset(settings, echo=silent)
    stop(record)
    reset(settings, echo=silent)
    assert not settings.state_dir.exists()


def test_settings_that_a_service_is_started_with_are_read_back_as_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: Settings = load_settings(
        state_dir=tmp_path / "a b", kafka_password="s3cret", spark_extra_conf={"spark.x": "1"}, trigger_gold_seconds=0.5
    )
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings
