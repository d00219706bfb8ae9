"""Published schema versions are never edited, and `rtap contracts check` says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from rtap_assets.commands.contracts import contracts
from rtap_assets.config import PROJECT_ROOT, get_settings
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, PUBLISHED_SUMS, load_subject, publication_breaks
from rtap_assets.errors import ContractError


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    return shutil.copytree(PROJECT_ROOT / "rtap_assets" / "schemas", tmp_path / "schemas")


def check(schemas: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setenv("RTAP_SCHEMAS_DIR", str(schemas))
    get_settings.cache_clear()
    try:
        result = CliRunner().invoke(contracts, ["check"])
    finally:
        get_settings.cache_clear()
    return result.exit_code, result.output


def test_the_repository_has_every_version_as_it_was_published() -> None:
    assert publication_breaks(PROJECT_ROOT / "rtap_assets" / "schemas") == []


def test_an_edited_version_is_found_even_when_only_a_space_was_added(schemas: Path) -> None:
    path = schemas / EVENTS_SUBJECT_FOLDER / "1.avsc"
    path.write_text(path.read_text() + " ")
    assert [text.split(":")[0] for text in publication_breaks(schemas)] == [f"{EVENTS_SUBJECT_FOLDER}/1.avsc"]


def test_a_removed_version_is_found(schemas: Path) -> None:
    (schemas / EVENTS_SUBJECT_FOLDER / "2.avsc").unlink()
    assert publication_breaks(schemas) == [f"{EVENTS_SUBJECT_FOLDER}/2.avsc: published, and now missing; put it back"]


def test_a_new_version_comes_with_the_line_that_publishes_it(schemas: Path) -> None:
    shutil.copy(schemas / EVENTS_SUBJECT_FOLDER / "2.avsc", schemas / EVENTS_SUBJECT_FOLDER / "3.avsc")
    (found,) = publication_breaks(schemas)
    line = found.split("`")[1]
    with (schemas / PUBLISHED_SUMS).open("a") as sums:
        sums.write(f"{line}\n")
    assert publication_breaks(schemas) == []


def test_a_gap_in_the_versions_is_refused(schemas: Path) -> None:
    (schemas / EVENTS_SUBJECT_FOLDER / "1.avsc").unlink()
    with pytest.raises(ContractError, match=r"2\.avsc"):
        load_subject(schemas, EVENTS_SUBJECT_FOLDER)


def test_check_prints_each_comparison_and_ends_well(schemas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = check(schemas, monkeypatch)
    assert code == 0
    assert f"✓ {EVENTS_SUBJECT_FOLDER}: 1 read as 2" in output
    assert f"✓ {EVENTS_SUBJECT_FOLDER}: 2 read as 1" in output


def test_check_fails_on_another_scale_and_names_it(schemas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = schemas / EVENTS_SUBJECT_FOLDER / "2.avsc"
    (schemas / EVENTS_SUBJECT_FOLDER / "3.avsc").write_text(newest.read_text().replace('"scale": 4', '"scale": 2'))
    code, output = check(schemas, monkeypatch)
    assert code == 1
    assert f"✗ {EVENTS_SUBJECT_FOLDER}: 3 read as 2" in output
    assert "$.amount: scale 2 in the writer, 4 in the reader" in output
