"""Apicurio's global ids, written by its serializers up to version 2 and unknown to its Confluent-compatible API.

Used when the registry's URL is the compatible API of an Apicurio registry, whose own API is at the same address.
Source: https://www.apicur.io/registry/docs/apicurio-registry/3.0.x/assets-attachments/registry-rest-api.htm
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from confluent_kafka.schema_registry.common._httpx_compat import httpx

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.writer_schemas import AVRO, RegisteredSchema

COMPATIBLE_PATH = "/apis/ccompat/"
API_PATHS = ("/apis/registry/v3", "/apis/registry/v2")
NOT_FOUND = 404
MOST_REFERENCES = 500


@dataclass(frozen=True)
class ApicurioIds:
    """Looks up global ids. Connection errors are httpx's; the caller translates them."""

    base: str
    credentials: tuple[str, str] | None
    timeout_seconds: float

    @classmethod
    def beside(cls, settings: Settings) -> ApicurioIds | None:
        """Return a look-up at the registry of the settings; None if its URL is not an Apicurio registry's."""
        parts = urlsplit(settings.schema_registry_url)
        before, found, _ = parts.path.partition(COMPATIBLE_PATH)
        if not found:
            return None
        user, _, password = settings.registry_credentials.get_secret_value().partition(":")
        base = parts._replace(path=before, query="", fragment="").geturl()
        return cls(base, (user, password) if user else None, settings.request_timeout_seconds)

    def schema(self, global_id: int) -> RegisteredSchema | None:
        """Return the schema of a global id with its references; None if there is none."""
        with httpx.Client(auth=self.credentials, timeout=self.timeout_seconds) as client:
            for api in API_PATHS:
                found = _get(client, f"{self.base}{api}/ids/globalIds/{global_id}?returnArtifactType=true")
                if found is not None:
                    references: dict[str, str] = {}
                    listed = _get(client, f"{self.base}{api}/ids/globalIds/{global_id}/references")
                    self._resolve(client, api, [] if listed is None else listed.json(), references, set())
                    type_ = found.headers.get("X-Registry-ArtifactType", AVRO)
                    return RegisteredSchema(found.text, type_, references)
        return None

    def _resolve(
        self, client: Any, api: str, listed: list[dict[str, Any]], references: dict[str, str], seen: set[str]
    ) -> None:
        """Add the texts of all references, dependencies first."""
        for one in listed:
            group, artifact = (quote(str(one.get(name) or "default"), safe="") for name in ("groupId", "artifactId"))
            path = f"{self.base}{api}/groups/{group}/artifacts/{artifact}/versions/{quote(str(one['version']), safe='')}"
            if path in seen or len(seen) >= MOST_REFERENCES:
                continue
            seen.add(path)
            content = _get(client, f"{path}/content" if api.endswith("v3") else path)
            if content is not None:
                below = _get(client, f"{path}/references")
                self._resolve(client, api, [] if below is None else below.json(), references, seen)
                references[one["name"]] = content.text


def _get(client: Any, url: str) -> Any:
    response = client.get(url)
    if response.status_code == NOT_FOUND:
        return None
    response.raise_for_status()
    return response
