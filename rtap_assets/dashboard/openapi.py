"""The OpenAPI description of the dashboard's API, from the readings themselves."""

from __future__ import annotations

from typing import Any

from rtap_assets.contracts.rules import Reason
from rtap_assets.dashboard.readings import DEFAULT_LIMIT, MOST_LIMIT, READINGS, Reading
from rtap_assets.dashboard.representation import ARROW, CSV, JSON
from rtap_assets.streaming.model.states import StreamStatus

# Path -> the reading that answers it.
PATHS = {
    "/api/revenue": "revenue",
    "/api/windows/rolling": "rolling",
    "/api/windows/tumbling": "tumbling",
    "/api/corrections": "corrections",
    "/api/quality": "quality",
    "/api/dead-letters": "dead-letters",
    "/api/dead-letters/{reason}": "records",
    "/api/latency": "latency",
}
REFUSALS = {
    "400": "A parameter is unknown or its value cannot be used.",
    "401": "The token is missing or wrong, or the reverse proxy names no user.",
    "403": "The request comes from a web page of another site.",
    "404": "There is no such thing.",
    "406": "None of the types in Accept is offered.",
    "421": "The dashboard was called by a name that is neither loopback nor allowed.",
    "503": "The marts, the lake or the catalog cannot be read at the moment.",
}
DESCRIPTION = (
    "Read-only. Rows come as JSON, CSV or Arrow (`Accept`); in JSON and CSV decimals are text with all their digits, times "
    "are ISO 8601 in UTC; in CSV a text that a spreadsheet would take for a formula begins with an apostrophe. `ETag` names "
    "the snapshot: with `If-None-Match` the answer is 304 until there is a newer one. A page ends with "
    "`next` (JSON) and the header `Link`; pages that differ in `as_of` are of two refreshes. Amounts are in `currency` and "
    "must not be added across currencies."
)


def openapi_document(version: str) -> dict[str, Any]:
    """Return the description, OpenAPI 3.1."""
    paths = {path: {"get": _operation(path, READINGS[name])} for path, name in PATHS.items()}
    paths["/api/streams"] = {"get": _described("State of each stream, as its host reports it.", [])}
    return {
        "openapi": "3.1.0",
        "info": {"title": "rtap dashboard", "version": version, "description": DESCRIPTION},
        "servers": [{"url": "."}],  # beside the description itself, under whatever path a proxy serves it
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**StreamStatus.schemas(), **_schemas()},
        },
    }


def _operation(path: str, reading: Reading) -> dict[str, Any]:
    in_path = "reason" if "{reason}" in path else ""
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path" if name == in_path else "query",
            "required": name == in_path,
            "description": one.doc,
            "schema": {"type": "string"}
            | ({"format": "date-time"} if one.is_instant else {})
            | ({"enum": [code.value for code in Reason]} if name == in_path else {}),
        }
        for name, one in reading.filters.items()
    ]
    limit = {"type": "integer", "minimum": 1, "maximum": MOST_LIMIT, "default": DEFAULT_LIMIT}
    parameters.append({"name": "limit", "in": "query", "description": "Most rows of a page.", "schema": limit})
    cursor = {"name": "cursor", "in": "query", "description": "Where a page ended.", "schema": {"type": "string"}}
    return _described(reading.summary, [*parameters, cursor])


def _described(summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    content = {
        JSON: {"schema": {"$ref": "#/components/schemas/Rows"}},
        CSV: {"schema": {"type": "string"}},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "The rows.", "content": content},
            "304": {"description": "Nothing newer than the ETag in If-None-Match."},
            **{status: {"description": text, "content": error} for status, text in REFUSALS.items()},
        },
    }


def _schemas() -> dict[str, Any]:
    text = {"type": "string"}
    error = {"type": "object", "properties": {"code": text, "message": text, "remedy": text}}
    rows = {
        "as_of": {"type": ["string", "null"], "description": "When the data are of, or which snapshots."},
        "rows": {"type": "array", "items": {"type": "object"}},
        "next": {"type": ["string", "null"], "description": "The cursor of the next page; null on the last one."},
    }
    return {
        "Rows": {"type": "object", "properties": rows, "required": list(rows)},
        "Error": {"type": "object", "properties": {"error": error}, "required": ["error"]},
    }
