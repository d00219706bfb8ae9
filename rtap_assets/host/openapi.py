"""The OpenAPI description of the stream host's API; the schemas come from the values that it exchanges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rtap_assets.host.description import HostDescription
from rtap_assets.streaming.model.operation import STREAM_ACTIONS, TABLE_ACTIONS, Operation
from rtap_assets.streaming.model.states import StreamStatus

INTEGER, TEXT = {"type": "integer"}, {"type": "string"}


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: what it does, the schema of its answer, and the refusals beyond those that all have."""

    method: str
    path: str
    summary: str
    answer: str | None = None
    success: int = 200
    refusals: tuple[int, ...] = ()
    query: tuple[tuple[str, dict[str, Any]], ...] = ()
    is_open: bool = False


ENDPOINTS = (
    Endpoint("get", "/healthz", "Whether the host serves and its JVM answers.", refusals=(503,), is_open=True),
    Endpoint("get", "/openapi.json", "This description."),
    Endpoint("get", "/metrics", "Readings for Prometheus, text format 0.0.4."),
    Endpoint("get", "/v1/streams", "State of each stream.", "Streams"),
    Endpoint("get", "/v1/streams/{name}", "State of one stream.", "StreamStatus", refusals=(404,)),
    Endpoint(
        "get", "/v1/streams/{name}/progress", "The newest micro-batches, as logged.", "Progress",
        refusals=(400, 404), query=(("limit", INTEGER | {"minimum": 1, "maximum": 1000, "default": 20}),),
    ),
    Endpoint(
        "post", "/v1/streams/{name}/{action}", "Ask something of a stream; returns at once with an operation to follow.",
        "Operation", success=202, refusals=(404, 409, 503),
    ),
    Endpoint(
        "post", "/v1/tables/{work}",
        "Maintain the tables, correct late rows and later copies, erase an account, or judge quarantined rows again "
        "(arguments as a JSON object); returns at once with an operation to follow.",
        "Operation", success=202, refusals=(400, 404, 409, 503),
    ),
    Endpoint("get", "/v1/operations/{id}", "How an operation goes.", "Operation", refusals=(404,)),
    Endpoint("post", "/v1/operations/{id}/cancel", "Give an operation up.", "Operation", refusals=(404, 409)),
    Endpoint("get", "/v1/host", "The host process.", "Host"),
    Endpoint("post", "/v1/host/shutdown", "End the host: streams are drained, what is desired stays.", "Host", success=202),
)  # fmt: skip

REFUSALS = {
    400: "A parameter is not valid.",
    401: "The token is missing or wrong.",
    403: "The request comes from a web page of another site.",
    404: "There is no such thing.",
    409: "It cannot be done now; the error says why.",
    421: "The host was called by a name that is neither loopback nor allowed.",
    503: "The host is about to end, or something it needs does not answer.",
}
PARAMETERS = {
    "name": TEXT,
    "id": TEXT,
    "action": TEXT | {"enum": [action.value for action in STREAM_ACTIONS]},
    "work": TEXT | {"enum": [action.value for action in TABLE_ACTIONS]},
}


def openapi_document(version: str) -> dict[str, Any]:
    """Return the description, OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rtap stream host", "version": version, "description": "Starts, watches and stops the streams."},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": _schemas()},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(endpoint.answer)}} if endpoint.answer else None
    refusals = {*endpoint.refusals, 403, 421} | (set() if endpoint.is_open else {401})
    error = {"application/json": {"schema": _reference("Error")}}
    document: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": PARAMETERS[name]}
                for name in re.findall(r"{(\w+)}", endpoint.path)
            ),
            *({"name": name, "in": "query", "schema": schema} for name, schema in endpoint.query),
        ],
        "responses": {str(endpoint.success): {"description": "Done."} | ({"content": content} if content else {})}
        | {str(status): {"description": REFUSALS[status], "content": error} for status in sorted(refusals)},
    }
    return document | ({"security": []} if endpoint.is_open else {})


def _schemas() -> dict[str, Any]:
    error = _object({"code": TEXT, "message": TEXT, "remedy": TEXT})
    return {
        **StreamStatus.schemas(),
        **Operation.schemas(),
        "Streams": _object({"streams": {"type": "array", "items": _reference("StreamStatus")}}),
        "Progress": _object({"stream": TEXT, "batches": {"type": "array", "items": {"type": "object"}}}),
        "Host": HostDescription.schemas()["HostDescription"],
        "Error": _object({"error": error}),
    }


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": required, "required": list(required)}
