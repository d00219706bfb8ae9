"""The jars: what the sums say is what is used, and a difference is named."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.java import jars


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose cache holds a small complete set of jars, with sums of its own."""
    sums = tmp_path / "jars.sha256"
    monkeypatch.setattr(jars, "SUMS", sums)
    files = {name: name.encode() for name in ("spark/a-1.jar", "broker/b-2.jar")}
    archive = f"{hashlib.sha256(b'archive').hexdigest()}  registry/r-3.tar.gz\n"
    sums.write_text(
        "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in files.items()) + archive, encoding="utf-8"
    )
    settings = load_settings(_env_file=None, cache_dir=tmp_path / "cache")
    folder = jars.jars_folder(settings)
    unpacked = {"registry/unpacked/lib/r.jar": b"r", "registry/unpacked/LICENSE": b"text"}
    for name, body in (files | unpacked).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    (folder / jars.STAMP).write_text(
        "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in unpacked.items()), encoding="utf-8"
    )
    return settings


def test_an_untouched_set_verifies_and_is_listed_by_use(cache: Settings) -> None:
    assert jars.verify_installed(cache) == 4
    assert [[path.name for path in jars.jars_of(cache, use)] for use in ("spark", "broker", "registry")] == [
        ["a-1.jar"],
        ["b-2.jar"],
        ["r.jar"],
    ]


@pytest.mark.parametrize(
    "name, body, fault",
    [
        ("spark/a-1.jar", b"other bytes", "spark/a-1.jar (different)"),
        ("spark/a-1.jar", None, "spark/a-1.jar (missing)"),
        ("broker/extra.jar", b"extra", "broker/extra.jar (unexpected)"),
        ("registry/unpacked/lib/r.jar", b"other bytes", "registry/unpacked/lib/r.jar (different)"),
    ],
)
def test_a_file_that_differs_is_missing_or_is_too_many_is_named(
    cache: Settings, name: str, body: bytes | None, fault: str
) -> None:
    path = jars.jars_folder(cache) / name
    path.unlink(missing_ok=True)
    if body is not None:
        path.write_bytes(body)
    with pytest.raises(ConfigurationError, match=re.escape(f"do not match jars.sha256: {fault}.")):
        jars.verify_installed(cache)


def test_jars_that_were_never_fetched_are_refused_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, cache_dir=tmp_path)
    for ask in (lambda: jars.jars_of(settings, "spark"), lambda: jars.verify_installed(settings)):
        with pytest.raises(ConfigurationError, match="rtap jars fetch"):
            ask()


def test_other_sums_mean_another_folder(cache: Settings) -> None:
    before = jars.jars_folder(cache)
    jars.SUMS.write_text(jars.SUMS.read_text(encoding="utf-8").replace("a-1", "a-2"), encoding="utf-8")
    assert jars.jars_folder(cache) != before


def test_every_jar_that_the_descriptor_asks_for_has_a_sum() -> None:
    names = set(jars.expected_sums())
    dependencies = list(ET.parse(jars.HERE / "ivy.xml").iter("dependency"))
    assert len(dependencies) >= 5
    for wanted in dependencies:
        use = wanted.attrib["conf"].split("->")[0]
        prefix = f"{use}/{wanted.attrib['name']}-{wanted.attrib['rev']}"
        assert [name for name in names if name.startswith(prefix)], f"jars.sha256 has no {prefix}…"


def test_the_jars_of_this_machine_are_those_that_were_reviewed() -> None:
    assert jars.verify_installed(load_settings(_env_file=None)) > len(jars.expected_sums())
