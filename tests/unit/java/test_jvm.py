"""Which Java is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtap_assets.config import load_settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.java.jvm import java_command, java_major_version


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def jdk(folder: Path, version: str) -> Path:
    executable(folder / "bin" / "java", f"echo 'openjdk version \"{version}\" 2020-01-01' >&2")
    return folder


@pytest.mark.parametrize("version, major", [("1.8.0_392", 8), ("11.0.2", 11), ("17", 17), ("21.0.8", 21), ("25-ea", 25)])
def test_the_major_version_is_read_in_every_spelling(tmp_path: Path, version: str, major: int) -> None:
    assert java_major_version(jdk(tmp_path, version) / "bin" / "java") == major


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "25.0.2"])
def test_an_unsuitable_java_is_refused_with_its_version_and_what_to_do(tmp_path: Path, version: str) -> None:
    settings = load_settings(_env_file=None, java_home=jdk(tmp_path, version))
    with pytest.raises(ConfigurationError, match=r"Spark runs on 17 or 21\. Unset RTAP_JAVA_HOME"):
        java_command(settings)


def test_a_suitable_java_takes_the_place_of_the_packaged_one(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, java_home=jdk(tmp_path, "17.0.9"))
    assert java_command(settings) == [str(tmp_path / "bin" / "java")]


def test_a_java_home_without_java_and_one_that_fails_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be run"):
        java_command(load_settings(_env_file=None, java_home=tmp_path / "nowhere"))
    executable(tmp_path / "broken" / "bin" / "java", "echo no display >&2; exit 1")
    with pytest.raises(ConfigurationError, match="no display"):
        java_command(load_settings(_env_file=None, java_home=tmp_path / "broken"))
