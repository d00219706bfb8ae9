"""Lists the registry for the bronze query: which schema ids are decoded, and until when that list is complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rtap_assets.config import Settings
from rtap_assets.contracts.registered import RegisteredWriters, judge_writers
from rtap_assets.contracts.schemas import load_subject
from rtap_assets.errors import ConfigurationError
from rtap_assets.kafka.registry import Registry

CONTRACT_SUBJECT = "sales.events.v1-value"
# Kafka timestamps have whole milliseconds: a record stamped within the millisecond of the listing may be younger than it.
TIMESTAMP_RESOLUTION = timedelta(milliseconds=2)


def list_writers(settings: Settings) -> RegisteredWriters:
    """The writer schemas of the events topic as registered now.

    Time: complete for Kafka timestamps up to `known_until`: the start of the listing, less the margin for clock skew (none
        when broker and registry are embedded, for they share this machine's clock).
    Raises:
        DependencyUnavailable: the registry does not answer.
        ConfigurationError: nothing is registered. Every record would be quarantined then, and it is not their fault.
    """
    embedded = settings.uses_embedded_broker and settings.uses_embedded_registry
    margin = timedelta(0) if embedded else timedelta(seconds=settings.schema_clock_skew_seconds)
    started = datetime.now(UTC)
    versions = Registry(settings).versions(settings.events_subject)
    if not versions:
        raise ConfigurationError(
            f"No schema is registered under {settings.events_subject} at {settings.schema_registry_url}.",
            remedy="Run `rtap contracts register`, or correct RTAP_REGISTRY_URL.",
        )
    return judge_writers(
        versions,
        load_subject(settings.schemas_dir, CONTRACT_SUBJECT),
        known_until=started - margin - TIMESTAMP_RESOLUTION,
        id_horizon=settings.schema_id_horizon,
    )
