"""What a schema id means for the platform, in lines of text: where it is registered, how it is read, or why not."""

from __future__ import annotations

from dataclasses import dataclass

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.writer_schemas import Refusal, judge_schema
from rtap_assets.contracts.rules import EXPLANATIONS, Reason
from rtap_assets.registry.client import Registry
from rtap_assets.streaming.queries.registered_schemas import load_contract
from rtap_assets.streaming.queries.schema_findings import fingerprint, read_judgments

SHOWN_NAME = 60


@dataclass(frozen=True)
class Explanation:
    """The lines, and whether records of the id are decoded."""

    lines: tuple[str, ...]
    is_read: bool


def explain_schema(settings: Settings, schema_id: int) -> Explanation:
    """Return what the registry has under the id, and what the contract makes of it.

    Raises:
        DependencyUnavailable: the registry does not answer.
    """
    registry = Registry(settings)
    schema = registry.schema(str(schema_id))
    if schema is None:
        reason = Reason.UNKNOWN_SCHEMA_ID
        return Explanation((f"schema id {schema_id}: {reason.value}", f"  {EXPLANATIONS[reason]}"), is_read=False)
    places = ", ".join(f"{subject} version {version}" for subject, version in registry.subjects_of(schema_id))
    head = [f"schema id {schema_id}: {schema.type}, {places or 'under no subject any more'}"]
    head += [f"  refers to {name}" for name in schema.references]
    kept = read_judgments(settings).get(str(schema_id))
    if kept is not None and fingerprint(kept.schema) != fingerprint(schema):
        head.append(
            f"  WARNING: the registry had another schema under this id on {kept.at}: it was replaced; see the runbook"
        )
    verdict = judge_schema(schema, load_contract(settings))
    if isinstance(verdict, Refusal):
        lines = [*head, f"  quarantined as {verdict.reason.value}", f"  {verdict.finding}"]
        return Explanation(tuple(lines), is_read=False)
    lines = [*head, "  decoded"]
    lines += [f"  {name} <- {source[:SHOWN_NAME]}" for name, source in verdict.sources.items()]
    lines += [f"  {name} <- null, the schema does not have it" for name in verdict.absent]
    lines += [f"  {name[:SHOWN_NAME]} is skipped, the contract does not know it" for name in verdict.skipped]
    return Explanation(tuple(lines), is_read=True)
