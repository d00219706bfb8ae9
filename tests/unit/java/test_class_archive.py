"""When the class-data archive is used, made, made again and removed. Java is a script here."""

from __future__ import annotations

import lzma
import os
from pathlib import Path

import pytest
from filelock import FileLock

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.java import class_archive
from rtap_assets.java.class_archive import CLASS_LIST, archive_options, archive_path, make_archive

WRITES_ITS_ARGUMENTS = 'for one do case "$one" in -XX:SharedArchiveFile=*) echo "$@" > "${one#*=}";; esac; done'


class Site:
    """A Java and a class path of one jar, with a cache of their own."""

    def __init__(self, folder: Path, script: str = WRITES_ITS_ARGUMENTS) -> None:
        self.settings: Settings = load_settings(_env_file=None, state_dir=folder / "state", cache_dir=folder / "cache")
        self.settings.cache_dir.mkdir()
        self.jar = folder / "one.jar"
        self.jar.write_text("jar", encoding="utf-8")
        self.java = folder / "java"
        self.java.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        self.java.chmod(0o755)

    def make(self) -> Path | None:
        return make_archive(self.settings, java=self.java, class_path=[self.jar], wait_seconds=0)

    def options(self) -> list[str]:
        return archive_options(self.settings, java=self.java, class_path=[self.jar])

    def path(self) -> Path:
        return archive_path(self.settings, java=self.java, class_path=[self.jar])


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The commands that were started in the background."""
    commands: list[object] = []
    monkeypatch.setattr(class_archive, "spawn_background", lambda command, **_: commands.append(command))
    return commands


def test_the_class_list_names_classes_of_spark_iceberg_and_java() -> None:
    names = set(lzma.decompress(CLASS_LIST.read_bytes()).decode().splitlines())
    assert {"org/apache/spark/SparkContext", "org/apache/iceberg/spark/SparkCatalog", "java/lang/Object"} <= names


def test_an_archive_that_was_made_is_used(tmp_path: Path, begun: list[object]) -> None:
    site = Site(tmp_path)
    made = site.make()
    assert made == site.path()
    assert site.options() == [f"-XX:SharedArchiveFile={made}"]
    assert begun == []
    assert f"-cp {site.jar}" in made.read_text(encoding="utf-8")


def test_a_start_without_an_archive_goes_on_and_has_one_made_in_the_background(tmp_path: Path, begun: list[object]) -> None:
    site = Site(tmp_path)
    assert site.options() == []
    assert begun == [class_archive.MAKE_COMMAND]


def test_an_archive_of_other_jars_or_another_java_is_not_used_and_is_removed(tmp_path: Path, begun: list[object]) -> None:
    site = Site(tmp_path)
    first = site.make()
    assert first is not None
    os.utime(site.jar, times=(1, 1))
    assert site.options() == []
    assert begun
    second = site.make()
    assert second is not None
    assert second != first
    assert not first.exists()
    os.utime(site.java, times=(1, 1))
    assert site.path() not in (first, second)


def test_an_archive_of_another_environment_stays_while_that_exists(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = site.make()
    assert first is not None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    first.with_suffix(".origin").write_text(str(elsewhere), encoding="utf-8")
    os.utime(site.jar, times=(1, 1))
    site.make()
    assert first.exists()
    elsewhere.rmdir()
    os.utime(site.jar, times=(2, 2))
    site.make()
    assert not first.exists()


def test_a_java_that_fails_is_an_error_once_and_no_start_tries_again(tmp_path: Path, begun: list[object]) -> None:
    site = Site(tmp_path, "echo no room >&2; exit 1")
    with pytest.raises(ConfigurationError, match="no room"):
        site.make()
    assert site.options() == []
    assert begun == []
    assert [path.name for path in site.path().parent.iterdir() if path.name.startswith("making-")] == []


def test_of_two_processes_one_makes_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.path().parent.mkdir(parents=True)
    with FileLock(site.path().parent / "lock"):
        assert site.make() is None
    made = site.make()
    with FileLock(site.path().parent / "lock"):
        assert site.make() == made  # what is there is not waited for


def test_no_archive_is_begun_where_it_could_not_be_written(
    tmp_path: Path, begun: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may write everywhere
    assert site.options() == []
    assert begun == []


def test_without_the_setting_none_is_used_or_made(tmp_path: Path, begun: list[object]) -> None:
    site = Site(tmp_path)
    site.make()
    site.settings = site.settings.model_copy(update={"spark_class_archive": False})
    assert site.options() == []
    assert begun == []
