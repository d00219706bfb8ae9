"""The tools of the MCP server: what a client sees of them, and who answers. All of them read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.host.client import StreamsClient
from rtap_assets.mcp.query_process import QueryProcess

DEFAULT_ROWS = 100
MOST_STATEMENT_CHARACTERS = 100_000
ANNOTATIONS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}


def tool_definitions(settings: Settings) -> list[dict[str, Any]]:
    """Return the tools as `tools/list` has them, the bounds of these settings in their schemas."""
    return [
        _tool(
            "list_tables",
            "Tables",
            "List the tables, views and marts with descriptions and their columns with comments.",
            {},
        ),
        _tool(
            "query_sql",
            "SQL query",
            "Answer one SELECT (DuckDB's SQL) over the newest snapshots. Nothing can be changed, and no file or network is "
            "reached. Decimals are strings.",
            {
                "statement": {"type": "string", "description": "The query.", "maxLength": MOST_STATEMENT_CHARACTERS},
                "max_rows": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": settings.mcp_most_rows,
                    "default": min(DEFAULT_ROWS, settings.mcp_most_rows),
                    "description": "Most rows to return; is_truncated says whether there are more.",
                },
                "timeout_seconds": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "maximum": settings.sql_timeout_seconds,
                    "default": settings.sql_timeout_seconds,
                    "description": "Deadline; the query is ended then.",
                },
            },
            required=["statement"],
        ),
        _tool(
            "stream_states",
            "Streams",
            "Return what is desired and observed of each stream, its lag, and its last error.",
            {},
        ),
        _tool(
            "dead_letters",
            "Dead letters",
            "Count the quarantined records by reason, with the meaning of the reason and the newest details.",
            {
                "hours": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "description": "Only records that the broker appended in the last hours; all of them by default.",
                }
            },
        ),
    ]


class Tools:
    """Runs the tools. What reads the lake runs in a process of its own, which is killed when it is late or cancelled."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queries = QueryProcess(settings)
        self._schemas = {one["name"]: one["inputSchema"] for one in tool_definitions(settings)}

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Return the result of a tool.

        Raises:
            ConfigurationError: the arguments are not those of the tool.
            ServingError: the query was refused, or ended at its deadline.
            DependencyUnavailable: a catalog did not answer.
        """
        checked = _checked(self._schemas[name], arguments)
        if name == "stream_states":
            with StreamsClient(self._settings) as client:
                return {"streams": [status.to_json() for status in client.statuses()]}
        seconds = float(checked.pop("timeout_seconds", self._settings.sql_timeout_seconds))
        return self._queries.ask(name, checked, seconds=seconds)

    def cancel(self) -> None:
        """End the query that runs."""
        self._queries.end()


def _checked(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with defaults; what is unknown, missing, of another type or out of bounds is refused."""
    properties = schema["properties"]
    for name in arguments:
        if name not in properties:
            raise ConfigurationError(
                f"There is no argument {name[:100]!r}.", remedy=f"Arguments: {', '.join(properties) or 'none'}."
            )
    for name in schema.get("required", []):
        if name not in arguments:
            raise ConfigurationError(f"The argument {name!r} is missing.")
    checked = {name: rule["default"] for name, rule in properties.items() if "default" in rule} | dict(arguments)
    for name, value in checked.items():
        if (fault := _fault(properties[name], value)) is not None:
            raise ConfigurationError(f"The argument {name!r} {fault}.")
    return checked


def _fault(rule: Mapping[str, Any], value: Any) -> str | None:
    if rule["type"] == "string":
        if not isinstance(value, str):
            return "is a text"
        return f"has at most {rule['maxLength']:,} characters" if len(value) > rule["maxLength"] else None
    kinds = int if rule["type"] == "integer" else int | float
    if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):  # NaN passes every bound
        return f"is {'a whole number' if rule['type'] == 'integer' else 'a number'}"
    if (
        value < rule.get("minimum", value)
        or value > rule.get("maximum", value)
        or value <= rule.get("exclusiveMinimum", value - 1)
    ):
        least = rule.get("minimum", f"more than {rule.get('exclusiveMinimum')}")
        return f"is from {least}" + (f" to {rule['maximum']:g}" if "maximum" in rule else "")
    return None


def _tool(
    name: str, title: str, description: str, properties: dict[str, Any], *, required: list[str] | None = None
) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": schema | ({"required": required} if required else {}),
        "annotations": ANNOTATIONS,
    }
