"""Registers the repository's schemas under the subjects of the configured topics."""

from __future__ import annotations

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.schemas import load_subject
from rtap_assets.contracts.avro.wire import value_subject
from rtap_assets.contracts.topics import TOPICS
from rtap_assets.errors import ContractError
from rtap_assets.registry.client import Registry

COMPATIBILITY = "BACKWARD"


def _subject_folders(settings: Settings) -> dict[str, str]:
    """Return the folder below `settings.schemas_dir` by subject; they differ where a setting renames a topic."""
    return {value_subject(topic.name_in(settings)): topic.schemas for topic in TOPICS if topic.schemas}


def register_contracts(settings: Settings) -> dict[str, dict[int, int]]:
    """Register every version with compatibility BACKWARD; return the schema id by subject and version. Idempotent.

    Raises:
        ContractError: the registry refused a schema; the message carries its reason.
        DependencyUnavailable: the registry did not answer.
    """
    registry = Registry(settings)
    ids: dict[str, dict[int, int]] = {}
    for subject, folder in _subject_folders(settings).items():
        ids[subject] = {}
        for version in load_subject(settings.schemas_dir, folder):
            try:
                ids[subject][version.version] = registry.register(subject, version.text)
            except ContractError as error:
                raise ContractError(
                    f"{folder}/{version.path.name}: {error.message}",
                    remedy="Compare the versions with `rtap contracts check`; a breaking change is a new topic.",
                    subject=subject,
                    version=version.version,
                ) from error
            if version.version == 1:  # before the second version, so that the rule holds for every later one
                registry.set_compatibility(subject, COMPATIBILITY)
    return ids
