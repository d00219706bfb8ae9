"""Registering the repository's schemas with a real registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.contracts.avro.compatibility import contract_breaks
from rtap_assets.contracts.avro.schemas import DQ_SUBJECT_FOLDER, EVENTS_SUBJECT_FOLDER, REVENUE_SUBJECT_FOLDER, load_subject
from rtap_assets.errors import ContractError
from rtap_assets.generator.preparation import incompatible_schema
from rtap_assets.registry.client import Registry
from rtap_assets.registry.registration import register_contracts


def with_third_version(settings: Settings, tmp_path: Path, text: str) -> Settings:
    schemas = shutil.copytree(PROJECT_ROOT / "rtap_assets" / "schemas", tmp_path / "schemas")
    (schemas / EVENTS_SUBJECT_FOLDER / "3.avsc").write_text(text)
    return settings.model_copy(update={"schemas_dir": schemas})


def newest_text() -> str:
    return load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", EVENTS_SUBJECT_FOLDER)[-1].text


def test_each_version_is_registered_under_its_topics_subject_and_a_second_call_changes_nothing(settings: Settings) -> None:
    first = register_contracts(settings)
    assert register_contracts(settings) == first
    folders = {
        settings.events_subject: EVENTS_SUBJECT_FOLDER,
        f"{settings.topic_revenue}-value": REVENUE_SUBJECT_FOLDER,
        f"{settings.topic_dq}-value": DQ_SUBJECT_FOLDER,
    }
    assert set(first) == set(folders)
    for subject, folder in folders.items():
        registered = Registry(settings).versions(subject)
        ours = load_subject(settings.schemas_dir, folder)
        assert {first[subject][version.version]: json.loads(version.text) for version in ours} == {
            schema_id: json.loads(text) for schema_id, text in registered.items()
        }


def test_an_incompatible_version_is_refused_with_the_registrys_reason(settings: Settings, tmp_path: Path) -> None:
    schema = json.loads(newest_text())
    next(field for field in schema["fields"] if field["name"] == "quantity")["type"] = "string"
    with pytest.raises(ContractError, match=r"3\.avsc: .*STRING not compatible with writer type: INT") as refused:
        register_contracts(with_third_version(settings, tmp_path, json.dumps(schema)))
    assert refused.value.remedy
    assert len(Registry(settings).versions(settings.events_subject)) == 2


def test_the_registry_accepts_another_scale_which_our_own_check_refuses(settings: Settings) -> None:
    newest = newest_text()
    changed = incompatible_schema(newest)
    schema_id = Registry(settings).register(settings.events_subject, changed)
    assert schema_id in Registry(settings).versions(settings.events_subject)
    assert contract_breaks(changed, newest) == ["$.amount: scale 2 in the writer, 4 in the reader"]
    register_contracts(settings)  # and the contract's own versions are still there to be found
