"""What the registry holds for a subject at one moment: the writer schemas that are decoded, and those that are refused.

A running plan's list of schema ids is fixed. It therefore carries the ids and the time of their listing: registration
precedes production, so an id that is not listed cannot be valid in a record that the broker appended before that time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rtap_assets.contracts.compatibility import contract_breaks
from rtap_assets.contracts.schemas import SchemaVersion


@dataclass(frozen=True)
class RegisteredWriters:
    """The writer schemas of a subject.

    `accepted` maps a schema id to its Avro schema (JSON text), `refused` an id to what breaks the contract. Both are
    complete for records whose Kafka timestamp is up to `known_until` (UTC). Ids above the newest by more than `id_horizon`
    are taken as unknown at once, whatever the time, so that random ids cannot make a stream list again for ever.
    """

    accepted: Mapping[int, str]
    refused: Mapping[int, str]
    known_until: datetime
    id_horizon: int

    @property
    def newest_plausible_id(self) -> int:
        return max([0, *self.accepted, *self.refused]) + self.id_horizon


def judge_writers(
    versions: Mapping[int, str], contract: Sequence[SchemaVersion], *, known_until: datetime, id_horizon: int
) -> RegisteredWriters:
    """Sort the registered versions into those that keep the contract's meaning, both ways, and those that do not."""
    breaks = {
        schema_id: [
            fault for ours in contract for fault in (*contract_breaks(text, ours.text), *contract_breaks(ours.text, text))
        ]
        for schema_id, text in versions.items()
    }
    return RegisteredWriters(
        accepted={schema_id: versions[schema_id] for schema_id, faults in breaks.items() if not faults},
        refused={schema_id: faults[0] for schema_id, faults in breaks.items() if faults},
        known_until=known_until,
        id_horizon=id_horizon,
    )
