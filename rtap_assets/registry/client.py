"""The schema registry: list the schemas of a subject, look up and register schemas, set the compatibility.

The only client of it. A missing answer is `DependencyUnavailable`, a refusal `ContractError` with its reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID
from weakref import finalize

# The client uses httpx or its successor, whichever is installed; this module exports the one in use.
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.common._httpx_compat import httpx
from confluent_kafka.schema_registry.error import SchemaRegistryError

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.known_writers import GLOBAL_PREFIX, GUID_PREFIX
from rtap_assets.contracts.avro.writer_schemas import AVRO, RegisteredSchema
from rtap_assets.errors import ConfigurationError, ContractError, DependencyUnavailable
from rtap_assets.registry.apicurio import ApicurioIds

SUBJECT_NOT_FOUND = 404
# Error codes: no such subject, version or schema. A bare 404 may come from a server that is not a registry.
NOT_FOUND = frozenset({40401, 40402, 40403})
MOST_REFERENCES = 500
REFUSED = frozenset({409, 422})
UNAUTHORISED = frozenset({401, 403})


class Registry:
    """A client of the registry of `settings`, with a deadline per call and no retries of its own (see `patience`)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # A password in the URL is for the client only; it must not appear in an error.
        parts = urlsplit(settings.schema_registry_url)
        self.address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        config: dict[str, object] = {
            "url": settings.schema_registry_url,
            "timeout": settings.request_timeout_seconds,
            "max.retries": 0,
        }
        if parts.scheme == "http":
            config["ssl.ca.location"] = False  # no TLS, so the certificates (20 ms of CPU) are not read
        if settings.registry_credentials.get_secret_value():
            config["basic.auth.user.info"] = settings.registry_credentials.get_secret_value()
        self._client = SchemaRegistryClient(config)
        self._apicurio = ApicurioIds.beside(settings)
        finalize(self, self._client.close)  # its connection would otherwise stay open until the process ends

    def versions(self, subject: str) -> dict[int, str]:
        """Return the schema text of each registered version by schema id, oldest first; {} if the subject does not exist.

        Raises:
            DependencyUnavailable: the registry did not answer.
        """
        with self._translated(f"list the schemas of {subject}"):
            try:
                numbers = sorted(self._client.get_versions(subject))
            except SchemaRegistryError as error:
                if error.http_status_code == SUBJECT_NOT_FOUND:
                    return {}
                raise
            found = [self._client.get_version(subject, number) for number in numbers]
        return {version.schema_id: version.schema.schema_str for version in found}

    def schema(self, key: str) -> RegisteredSchema | None:
        """Return the schema that a writer key names, with its references; None if the registry has none.

        Queries the registry each time: the client's own look-up caches forever, and would hide a registry that was replaced.
        Subjects and versions do not matter: a deleted version is found as long as the registry resolves its id.

        Raises:
            DependencyUnavailable: the registry did not answer.
        """
        with self._translated(f"look up {key}"):
            if key.startswith(GLOBAL_PREFIX):
                return self._apicurio.schema(int(key.removeprefix(GLOBAL_PREFIX))) if self._apicurio is not None else None
            if key.startswith(GUID_PREFIX):
                found = self._get(f"schemas/guids/{UUID(key.removeprefix(GUID_PREFIX))}", absent={SUBJECT_NOT_FOUND})
            else:
                found = self._get(f"schemas/ids/{key}")
            if found is None:
                return None
            references: dict[str, str] = {}
            self._resolve(found, references, set())
            return RegisteredSchema(found["schema"], found.get("schemaType") or AVRO, references)

    def subjects_of(self, schema_id: int) -> list[tuple[str, int]]:
        """Return the subjects and versions under which an id is registered; [] if the registry does not list them."""
        with self._translated(f"list the subjects of schema id {schema_id}"):
            found = self._get(f"schemas/ids/{schema_id}/versions", absent={SUBJECT_NOT_FOUND}) or []
        return sorted((one["subject"], one["version"]) for one in found)

    def _resolve(self, document: Mapping[str, Any], references: dict[str, str], seen: set[tuple[str, int]]) -> None:
        """Add the texts of all references, dependencies first. One that is gone is left out."""
        for one in document.get("references") or []:
            place = (one["subject"], one["version"])
            if place in seen or len(seen) >= MOST_REFERENCES:
                continue
            seen.add(place)
            found = self._get(f"subjects/{quote(place[0], safe='')}/versions/{place[1]}", query={"deleted": True})
            if found is not None:
                self._resolve(found, references, seen)
                references[one["name"]] = found["schema"]

    def _get(self, path: str, *, query: dict[str, object] | None = None, absent: Collection[int] = NOT_FOUND) -> Any:
        """Return the response to a GET; None for the error codes in `absent`."""
        try:
            return self._client._rest_client.get(path, query)
        except SchemaRegistryError as error:
            if error.error_code in absent or error.http_status_code in absent:
                return None
            raise

    def register(self, subject: str, schema_text: str) -> int:
        """Register a schema and return its id; an already registered schema keeps its id.

        Raises:
            ContractError: the registry refused it as incompatible or invalid.
            DependencyUnavailable: the registry did not answer.
        """
        with self._translated(f"register a schema under {subject}"):
            schema_id: int = self._client.register_schema(subject, Schema(schema_text, schema_type="AVRO"))
        return schema_id

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the rule for the next version of `subject`, for example "BACKWARD". Raises like `register`."""
        with self._translated(f"set the compatibility of {subject}"):
            self._client.set_compatibility(subject, level)

    def is_ready(self) -> bool:
        """Return whether the registry answers a request now."""
        try:
            with self._translated("list the subjects"):
                self._client.get_subjects()
        except DependencyUnavailable:
            return False
        return True

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except SchemaRegistryError as error:
            raise self._error(error, what=what) from error
        except (httpx.HTTPError, ValueError) as error:
            # ValueError: a response that is not JSON, for example a proxy's error page.
            raise self._unavailable(what, f"{type(error).__name__}: {error}".rstrip(": ")) from error

    def _error(self, error: SchemaRegistryError, *, what: str) -> ContractError | ConfigurationError | DependencyUnavailable:
        reason = str(error.error_message).strip()
        if error.http_status_code in REFUSED:
            return ContractError(
                f"The schema registry at {self.address} refused to {what}: {reason}",
                remedy="Add only optional fields with a null default; a breaking change needs a new topic.",
                status=error.http_status_code,
            )
        if error.http_status_code in UNAUTHORISED:
            return ConfigurationError(
                f"The schema registry at {self.address} refused to {what}: {reason}",
                remedy="Check RTAP_REGISTRY_CREDENTIALS.",
            )
        return self._unavailable(what, f"HTTP {error.http_status_code}: {reason}")

    def _unavailable(self, what: str, detail: str) -> DependencyUnavailable:
        embedded, seconds = self._settings.uses_embedded_registry, self._settings.request_timeout_seconds
        return DependencyUnavailable(
            f"The schema registry at {self.address} did not {what} (deadline {seconds:g} s): {detail}",
            remedy="Run `rtap up`." if embedded else "Check RTAP_REGISTRY_URL and that the registry is up.",
            dependency="registry",
            address=self.address,
        )
