"""What bronze knows of the schemas that its records name: asked of the registry, judged once, remembered.

A batch's offsets are fixed before anything is looked up for it, and a schema is registered before a record is written with
it: an id that the registry does not know by then is not a schema's. Such an id is asked for again by the later batches
that carry it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.known_writers import GLOBAL_PREFIX, KnownWriters, may_exist, newest_number, number_of
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.avro.writer_schemas import Contract, Decoding, RegisteredSchema, Verdict, judge
from rtap_assets.errors import ConfigurationError, ContractError, DependencyUnavailable, StreamError
from rtap_assets.registry.client import Registry
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.queries.schema_findings import Judgment, fingerprint, read_judgments, write_judgments

log = logging.getLogger(__name__)

PARALLEL_CALLS = 8
# Bounds of one batch's look-ups, the ids that occur most often first. Ids that were never asked for have the widest one.
MOST_NEW, MOST_IN_VAIN, MOST_BEYOND_HORIZON = 2_000, 200, 20
# Of the subject's versions, those that a plan decodes from its start; others join when a record names them.
VERSIONS_AT_START = 20
# How many ids are asked for again before a batch, to notice a registry that was replaced.
CHECKED_PER_BATCH = 16
# A registry that is frozen must not hold up batches that need nothing of it.
CHECK_SECONDS, CHECK_PAUSE_SECONDS = 2.0, 30.0
# Ids asked for in vain that are asked for again before each batch, the newest. Others are found by a scan of their batch.
MOST_ABSENT = 50
# After this many batches in a row with new unknown ids, a batch is scanned for ids before it is decoded.
SCANNED_AFTER = 2


def load_contract(settings: Settings) -> Contract:
    """Return the contract of the events, as its newest version in the repository says it."""
    return Contract.of(load_subject(settings.schemas_dir, EVENTS_SUBJECT_FOLDER))


class WriterMemory:
    """The verdicts of one run of bronze's query. One thread uses it."""

    def __init__(self, settings: Settings, *, registry: Registry | None = None) -> None:
        self._settings = settings
        self._registry = registry or Registry(settings)
        quick = {"request_timeout_seconds": min(CHECK_SECONDS, settings.request_timeout_seconds)}
        self._quick = registry or Registry(settings.model_copy(update=quick))
        self._contract = load_contract(settings)
        own = judge(RegisteredSchema(load_subject(settings.schemas_dir, EVENTS_SUBJECT_FOLDER)[-1].text), self._contract)
        if not isinstance(own, Decoding):
            raise ContractError(f"The contract cannot read its own newest version: {own.finding}")
        self._judgments: dict[str, Judgment] = {}
        self._in_vain: dict[str, None] = {}  # in the order in which they were asked for last
        self._checked = 0
        self._next_check = 0.0
        self._batches_with_new = 0
        self.known = KnownWriters({}, own)
        # Ids that the registry did not know when it was asked for this batch.
        self.absent: frozenset[str] = frozenset()

    def prime(self) -> None:
        """Learn what the topic's subject has, and compare what was judged before with what the registry says now.

        Raises:
            DependencyUnavailable: the registry does not answer.
            ConfigurationError: nothing is registered. Every record would be quarantined then, and it is not their fault.
            StreamError: a known id has another schema now.
        """
        settings = self._settings
        self._judgments = read_judgments(settings)
        listed = [str(schema_id) for schema_id in self._registry.versions(settings.events_subject)]
        if not listed:
            raise ConfigurationError(
                f"No schema is registered under {settings.events_subject} at {self._registry.address}.",
                remedy="Run `rtap contracts register`, or correct RTAP_REGISTRY_URL.",
            )
        self._compare(list(self._judgments), self._registry)
        self._learn([key for key in listed if key not in self._judgments])
        self._activate(sorted({*self._judgments} - {*listed}) + listed[-VERSIONS_AT_START:])

    def check(self) -> None:
        """Ask for some of the known ids again; goes on without an answer where the registry gives none.

        Raises:
            StreamError: a known id has another schema now.
        """
        keys = sorted(self.known.verdicts)
        chosen = [keys[(self._checked + step) % len(keys)] for step in range(min(CHECKED_PER_BATCH, len(keys)))]
        self._checked += len(chosen)
        if time.monotonic() < self._next_check:
            return
        try:
            self._compare(chosen, self._quick)
        except DependencyUnavailable as error:
            self._next_check = time.monotonic() + CHECK_PAUSE_SECONDS
            log.warning("known schemas were not compared with the registry's: %s", error.message)

    @property
    def expects_unknown(self) -> bool:
        """Whether new unknown ids keep coming, so that a batch is better scanned for ids before it is decoded."""
        return self._batches_with_new >= SCANNED_AFTER

    def ask_again(self) -> None:
        """Ask again for ids that were asked for in vain; `absent` are those that are still not known.

        Where the registry does not answer, none is: a batch that has one must wait then.
        """
        self.absent = frozenset()
        keys = list(self._in_vain)[-MOST_ABSENT:]
        if not keys or self.expects_unknown:
            return
        try:
            self._learn(keys)
        except DependencyUnavailable as error:
            log.warning("unknown schema ids were not asked for again: %s", error.message)
            return
        self._activate([key for key in keys if key in self._judgments])
        self.absent = frozenset(key for key in keys if key not in self._judgments)

    def look_up(self, counts: Mapping[str, int]) -> None:
        """Ask for the ids of a batch that are not known; `counts` says how often each occurs.

        Raises:
            DependencyUnavailable: the registry does not answer.
        """
        unknown = [key for key in sorted(counts, key=lambda key: -counts[key]) if key not in self.known.verdicts]
        possible = [key for key in unknown if may_exist(key)]
        is_new = any(key not in self._in_vain for key in possible)
        self._batches_with_new = self._batches_with_new + 1 if is_new else 0
        judged = [key for key in possible if key in self._judgments]
        asked = self._bounded([key for key in possible if key not in self._judgments])
        self._learn(asked)
        for key in asked:
            self._in_vain.pop(key, None)
        self._in_vain |= dict.fromkeys(key for key in reversed(asked) if key not in self._judgments)
        self._activate([*judged, *(key for key in asked if key in self._judgments)])

    def _bounded(self, keys: list[str]) -> list[str]:
        """Which of the unknown keys are asked for."""
        newest = newest_number(self._judgments) + self._settings.schema_id_horizon
        near = [key for key in keys if key.startswith(GLOBAL_PREFIX) or (number_of(key) or 0) <= newest]
        beyond = [key for key in keys if key not in set(near)]
        new = [key for key in near if key not in self._in_vain]
        in_vain = [key for key in near if key in self._in_vain]
        return [*new[:MOST_NEW], *in_vain[:MOST_IN_VAIN], *beyond[:MOST_BEYOND_HORIZON]]

    def _learn(self, keys: Iterable[str]) -> None:
        """Look the keys up, judge what is found and keep it."""
        found = {key: schema for key, schema in _answers(self._registry, keys).items() if schema is not None}
        if not found:
            return
        now = utc_now()
        self._judgments |= {key: Judgment.of(schema, self._verdict(schema), now) for key, schema in found.items()}
        self._in_vain = {key: None for key in self._in_vain if key not in found}
        write_judgments(self._settings, self._judgments)
        for key in found:
            log.info("schema %s: %s", key, self._judgments[key].finding or "decoded")

    def _activate(self, keys: Iterable[str]) -> None:
        """Let plans know the writers."""
        new = {key: self._verdict(self._judgments[key].schema) for key in keys if key not in self.known.verdicts}
        if new:
            self.known = KnownWriters({**self.known.verdicts, **new}, self.known.contract)

    def _verdict(self, schema: RegisteredSchema) -> Verdict:
        return judge(schema, self._contract)

    def _compare(self, keys: list[str], registry: Registry) -> None:
        """Make sure that the registry still gives the ids to the schemas that were judged. One that is gone stays known."""
        for key, schema in _answers(registry, keys).items():
            if schema is not None and fingerprint(schema) != fingerprint(self._judgments[key].schema):
                raise replaced(self._settings, self._registry.address, key, self._judgments[key].at)


def _answers(registry: Registry, keys: Iterable[str]) -> dict[str, RegisteredSchema | None]:
    asked = list(keys)
    with ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="registry") as pool:
        return dict(zip(asked, pool.map(registry.schema, asked), strict=True))


def replaced(settings: Settings, address: str, key: str, judged_at: str) -> StreamError:
    """The error for a registry that gives other ids to the schemas."""
    return StreamError(
        f"The schema registry at {address} has another schema under id {key} than on {judged_at}: it was replaced, or "
        "RTAP_REGISTRY_URL points to another one. Nothing is decoded with the wrong schema: bronze stands still.",
        remedy=f"Point RTAP_REGISTRY_URL to the registry whose ids the records of {settings.topic_events} carry. Where only "
        "records with the new ids are left to read: `rtap contracts forget --all`, then `rtap streams start bronze`.",
        key=key,
    )
