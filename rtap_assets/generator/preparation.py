"""Prepares a run: schemas and ids from the registry, limits, and an earlier run's records."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject, parsed
from rtap_assets.contracts.avro.wire import unframe, value_subject
from rtap_assets.contracts.rules import Reason
from rtap_assets.errors import ConfigurationError
from rtap_assets.generator.bad_records import DAY_MS, Contract
from rtap_assets.generator.encoding import physical
from rtap_assets.generator.events import Columns, WriterIds
from rtap_assets.generator.options import DELAY_SECONDS, GeneratorOptions
from rtap_assets.registry.client import Registry
from rtap_assets.registry.registration import register_contracts
from rtap_assets.runtime.clock import to_milliseconds, utc_now

HEADERS_ALLOWANCE_BYTES = 1024
INCOMPATIBLE_SCALE = 2
OTHER_TEAM_NAMESPACE = "com.acme.billing"


def prepare_contract(settings: Settings, options: GeneratorOptions) -> Contract:
    """Return the writer schemas and their ids, registering missing ones and those that the options request.

    Raises:
        ConfigurationError: the settings' limits do not allow the options.
    """
    _check_limits(settings, options)
    require_acceptable_start(settings, options)
    versions = load_subject(settings.schemas_dir, EVENTS_SUBJECT_FOLDER)
    registered = register_contracts(settings)
    other_team, incompatible = {}, None
    if options.foreign_schemas:
        other_team = {
            version.version: _register_for_other_team(settings, _other_team_schema(version.text)) for version in versions
        }
    if options.invalid and Reason.INCOMPATIBLE_SCHEMA in options.reasons:
        incompatible = _register_for_other_team(settings, incompatible_schema(_other_team_schema(versions[1].text)))
    foreign = registered[value_subject(settings.topic_revenue)][1]
    return Contract(
        schemas={version.version: physical(parsed(version.text)) for version in versions},
        ids=WriterIds(registered[settings.events_subject], incompatible, foreign, other_team),
        max_event_bytes=settings.max_event_bytes,
        event_time_past_ms=settings.event_time_past_seconds * 1000,
    )


def _other_team_schema(text: str) -> str:
    """Return the schema as another team registers it: the same record in its own namespace."""
    return json.dumps(json.loads(text) | {"namespace": OTHER_TEAM_NAMESPACE})


def _register_for_other_team(settings: Settings, text: str) -> int:
    """Register a schema under the subject that the topic-record-name strategy gives it; return its id.

    Never under the topic's own subject: a producer that takes the newest version would write with it.
    """
    subject = f"{settings.topic_events}-{OTHER_TEAM_NAMESPACE}.{json.loads(text)['name']}"
    return Registry(settings).register(subject, text)


def incompatible_schema(text: str) -> str:
    """Return the schema with amounts of scale 2, compatible for Avro and the registry, but wrong when read as scale 4."""
    schema = json.loads(text)
    for child in schema["fields"]:
        if child["name"] == "amount":
            child["type"]["scale"] = INCOMPATIBLE_SCALE
    return json.dumps(schema)


def _check_limits(settings: Settings, options: GeneratorOptions) -> None:
    room = settings.event_time_past_seconds - DELAY_SECONDS[1] - DAY_MS // 1000
    if options.rate is None and options.span_seconds > room:
        raise ConfigurationError(
            f"A span of {options.span_seconds:g} s includes event times that are quarantined as too old.",
            remedy=f"Use {room} s or less, or raise RTAP_EVENT_TIME_PAST_SECONDS.",
        )
    largest = settings.max_event_bytes + 4096 + HEADERS_ALLOWANCE_BYTES
    if options.invalid and Reason.OVERSIZED in options.reasons and largest > settings.topic_max_message_bytes:
        raise ConfigurationError(
            f"The topic takes no record above RTAP_MAX_EVENT_BYTES={settings.max_event_bytes}, so none can be oversized.",
            remedy="Leave the reason `oversized` out, or raise RTAP_TOPIC_MAX_MESSAGE_BYTES.",
        )


def require_acceptable_start(settings: Settings, options: GeneratorOptions) -> None:
    """Raise `ConfigurationError` when event times around the options' start would be quarantined."""
    if options.start_time is None:
        return
    ahead = (options.start_time - utc_now()).total_seconds()
    span = 0 if options.rate is not None else options.span_seconds
    if ahead > settings.event_time_future_seconds or span - ahead + DELAY_SECONDS[1] > settings.event_time_past_seconds:
        raise ConfigurationError(
            f"With the start {options.start_time.isoformat()}, event times are quarantined as too old or in the future.",
            remedy="Choose a later start or a shorter span, not after now.",
        )


def usable_for_replay(contract: Contract, start: datetime) -> Callable[[Columns], NDArray[np.bool_]]:
    """Return a predicate of records whose schema id is still the contract's and whose age is still accepted."""
    known = {*contract.ids.versions.values(), *contract.ids.other_team.values()}
    oldest = to_milliseconds(start) - contract.event_time_past_ms + DAY_MS

    def usable(columns: Columns) -> NDArray[np.bool_]:
        current = np.array([unframe(value)[0] in known for value in columns["value"]], dtype=bool)
        return np.asarray(current & (columns["event_time"] > oldest))

    return usable
