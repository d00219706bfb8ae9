"""The writer schemas known at one moment: how records of each are decoded, or why they are refused.

A *writer key* identifies a schema the way records do: `12` is schema id 12, `global:7` Apicurio's global id 7, `guid:…` the
id that Confluent's newer serializers put into a header.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rtap_assets.contracts.avro.wire import LARGEST_REAL_ID
from rtap_assets.contracts.avro.writer_schemas import Decoding, Refusal, Verdict
from rtap_assets.contracts.rules import Reason

GLOBAL_PREFIX, GUID_PREFIX = "global:", "guid:"


@dataclass(frozen=True)
class KnownWriters:
    """Writer key -> verdict. `contract` decodes the contract with itself and so gives every decoder's result type."""

    verdicts: Mapping[str, Verdict]
    contract: Decoding

    def decoders(self) -> dict[Decoding, list[str]]:
        """Return each decoding with the keys of its writers: schemas that differ only in names and docs share one."""
        found: dict[Decoding, list[str]] = {}
        for key, verdict in self.verdicts.items():
            if isinstance(verdict, Decoding):
                found.setdefault(verdict, []).append(key)
        return found

    def refusals(self) -> dict[Refusal, list[str]]:
        """Return each refusal with the keys of its writers."""
        found: dict[Refusal, list[str]] = {}
        for key, verdict in self.verdicts.items():
            if isinstance(verdict, Refusal):
                found.setdefault(verdict, []).append(key)
        return found

    def refused_for(self, reason: Reason) -> list[str]:
        """Return the keys of the writers refused for this reason."""
        return [key for refusal, keys in self.refusals().items() if refusal.reason is reason for key in keys]


def split_keys(keys: list[str]) -> tuple[list[int], list[str]]:
    """Return the keys that are schema ids, and the others."""
    return [int(key) for key in keys if key.isdigit()], [key for key in keys if not key.isdigit()]


def number_of(key: str) -> int | None:
    """Return the registry's number in the key; None for a GUID."""
    text = key.removeprefix(GLOBAL_PREFIX)
    return int(text) if text.lstrip("-").isdigit() else None


def may_exist(key: str) -> bool:
    """Return whether a registry can have assigned this id."""
    number = number_of(key)
    return number is None or 0 < number <= LARGEST_REAL_ID


def newest_number(keys: Iterable[str]) -> int:
    """Return the greatest number among the keys; 0 if there are none."""
    return max((number for key in keys if (number := number_of(key)) is not None), default=0)
