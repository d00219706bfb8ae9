"""Schemas in the real registry."""

from __future__ import annotations

import json

import pytest

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject, parsed
from rtap_assets.errors import ContractError
from rtap_assets.registry.client import Registry
from rtap_assets.registry.registration import register_contracts


def test_registered_versions_come_back_by_id_and_a_second_registration_changes_nothing(settings: Settings) -> None:
    ids = register_contracts(settings)[settings.events_subject]
    registered = Registry(settings).versions(settings.events_subject)
    in_repository = load_subject(settings.schemas_dir, EVENTS_SUBJECT_FOLDER)
    assert list(registered) == [ids[version.version] for version in in_repository]
    assert [parsed(text) for text in registered.values()] == [parsed(version.text) for version in in_repository]
    assert register_contracts(settings)[settings.events_subject] == ids


def test_a_subject_that_nobody_registered_has_no_versions(settings: Settings) -> None:
    assert Registry(settings).versions(f"{settings.topic_events}-unheard-of") == {}


def test_an_incompatible_schema_is_refused_with_the_registrys_reason_and_not_registered(settings: Settings) -> None:
    registry = Registry(settings)
    before = registry.versions(settings.events_subject)
    newest = json.loads(list(before.values())[-1])
    newest["fields"].append({"name": "shop_id", "type": "string", "doc": "A new field without a default."})
    with pytest.raises(ContractError, match=r"(?s)refused to register a schema under .*shop_id") as caught:
        registry.register(settings.events_subject, json.dumps(newest))
    assert "null default" in caught.value.remedy
    assert registry.versions(settings.events_subject) == before


def test_a_text_that_is_no_schema_is_refused_as_one(settings: Settings) -> None:
    with pytest.raises(ContractError, match="refused to register"):
        Registry(settings).register(settings.events_subject, '{"type": "record", "name": "broken"}')
