"""Plans a redrive: each dead letter is sent repaired, parked, or left in place with a reason. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from rtap_assets.contracts.dead_letters import DeadLetter, SchemaOf
from rtap_assets.contracts.repairs import Repair
from rtap_assets.errors import ContractError


class Outcome(StrEnum):
    """SEND and PARK are carried out; the others leave the record unchanged."""

    SEND = "send"
    PARK = "park"
    SENT_BEFORE = "sent before"
    NOT_REPAIRABLE = "not repairable"
    STILL_INVALID = "still invalid"


@dataclass(frozen=True)
class Planned:
    """One record with its key and value after the repair; `detail` explains why it is not sent."""

    record: DeadLetter
    outcome: Outcome
    key: bytes | None = None
    value: bytes | None = None
    detail: str = ""


@dataclass
class Tally:
    """Counts of records by reason and outcome, and the first few of each outcome."""

    samples_kept: int = 3
    counts: Counter[tuple[str, Outcome, str]] = field(default_factory=Counter)
    samples: dict[Outcome, list[Planned]] = field(default_factory=dict)

    def add(self, planned: Sequence[Planned]) -> None:
        for one in planned:
            self.counts[one.record.reason, one.outcome, _kind(one)] += 1
            kept = self.samples.setdefault(one.outcome, [])
            if len(kept) < self.samples_kept:
                kept.append(one)

    def of(self, outcome: Outcome) -> int:
        return sum(number for (_, found, _), number in self.counts.items() if found is outcome)


def plan_redrive(
    records: Iterable[DeadLetter],
    repair: Repair,
    parameters: Mapping[str, str],
    *,
    schema_of: SchemaOf,
    was_sent: Callable[[DeadLetter], bool],
    max_attempts: int,
) -> Iterator[Planned]:
    """Yield the outcome for each record. One that was already sent `max_attempts` times is parked unchanged."""
    for record in records:
        if was_sent(record):
            yield Planned(record, Outcome.SENT_BEFORE)
        elif record.redriven >= max_attempts:
            yield Planned(record, Outcome.PARK, record.key, record.value, f"sent again {record.redriven} times")
        else:
            yield _repaired(record, repair, parameters, schema_of)


def with_verdicts(planned: Sequence[Planned], verdicts: Sequence[str | None]) -> list[Planned]:
    """Return the plan without the records that would be quarantined again; `verdicts` are of those to be sent, in order."""
    reasons = iter(verdicts)
    return [
        replace(one, outcome=Outcome.STILL_INVALID, detail=reason)
        if one.outcome is Outcome.SEND and (reason := next(reasons)) is not None
        else one
        for one in planned
    ]


def _repaired(record: DeadLetter, repair: Repair, parameters: Mapping[str, str], schema_of: SchemaOf) -> Planned:
    try:
        key, value = repair.function(record, schema_of, parameters)
    except ContractError as error:
        return Planned(record, Outcome.NOT_REPAIRABLE, detail=error.message)
    return Planned(record, Outcome.SEND, key, value)


def _kind(planned: Planned) -> str:
    """Return the detail if it is one of a few codes, so that the counts stay a short list."""
    return planned.detail if planned.outcome is Outcome.STILL_INVALID else ""
