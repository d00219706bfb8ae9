"""The schema registry: which schemas a subject has, adding one, and the rule for the next.

The only place that talks to it. No answer is `DependencyUnavailable`, a refusal `ContractError` with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from weakref import finalize

# The client speaks through httpx or its successor, whichever is installed; this is where it says which.
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.common._httpx_compat import httpx
from confluent_kafka.schema_registry.error import SchemaRegistryError

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError, ContractError, DependencyUnavailable

SUBJECT_NOT_FOUND = 404
REFUSED = frozenset({409, 422})
UNAUTHORISED = frozenset({401, 403})


class Registry:
    """The registry of `settings`, with a deadline on each call and no retries of its own (see `patience`)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # A password in the URL is the client's business; it must not show in an error.
        parts = urlsplit(settings.schema_registry_url)
        self.address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        config: dict[str, object] = {
            "url": settings.schema_registry_url,
            "timeout": settings.request_timeout_seconds,
            "max.retries": 0,
        }
        if settings.registry_credentials.get_secret_value():
            config["basic.auth.user.info"] = settings.registry_credentials.get_secret_value()
        self._client = SchemaRegistryClient(config)
        finalize(self, self._client.close)  # its connection would otherwise stay open until the process ends

    def versions(self, subject: str) -> dict[int, str]:
        """Schema id -> schema text of each registered version, oldest first; {} when the subject does not exist.

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

    def schema_text(self, schema_id: int) -> str | None:
        """Return the schema that has the id, under whatever subject; None when the registry knows no such id.

        Raises:
            DependencyUnavailable: the registry did not answer.
        """
        with self._translated(f"look up the schema {schema_id}"):
            try:
                text: str | None = self._client.get_schema(schema_id).schema_str
            except SchemaRegistryError as error:
                if error.http_status_code == SUBJECT_NOT_FOUND:
                    return None
                raise
        return text

    def register(self, subject: str, schema_text: str) -> int:
        """Register a schema and return its id; the id it has when it is registered already.

        Raises:
            ContractError: the registry refused it as incompatible or invalid.
            DependencyUnavailable: the registry did not answer.
        """
        with self._translated(f"register a schema under {subject}"):
            schema_id: int = self._client.register_schema(subject, Schema(schema_text, schema_type="AVRO"))
        return schema_id

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set what the registry demands of the next version of `subject`, for example "BACKWARD". Raises like `register`."""
        with self._translated(f"set the compatibility of {subject}"):
            self._client.set_compatibility(subject, level)

    def is_ready(self) -> bool:
        """Whether the registry answers a real request now."""
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
            # ValueError: an answer that is not JSON, for example the page of a proxy in between.
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
