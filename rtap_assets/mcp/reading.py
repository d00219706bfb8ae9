"""What the tools read of the lake, bounded in rows and characters, as values that JSON holds without loss."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from rtap_assets.contracts.offset_gaps import OFFSET_GAPS
from rtap_assets.contracts.rules import EXPLANATIONS
from rtap_assets.contracts.tables import DQ_RESULTS, GOLD, TABLES, TableSpec
from rtap_assets.contracts.visible import visible
from rtap_assets.serving.connection import MARTS_CATALOG, PROGRESS_COLUMNS
from rtap_assets.serving.marts import MARTS
from rtap_assets.serving.query import run_query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_CHARACTERS = 1_000_000  # of one answer
MOST_CELL_CHARACTERS = 20_000
EXACT = 2**53  # beyond it a reader of JSON may round a number
DETAILS = 3

DEAD_LETTERS = """
SELECT error_reason AS reason, count(*) AS records, min(kafka_timestamp) AS first_seen, max(kafka_timestamp) AS last_seen,
    max_by(topic || '/' || kafka_partition || '/' || kafka_offset, kafka_timestamp, {details}) AS newest,
    max_by(coalesce(error_detail, ''), kafka_timestamp, {details}) AS details
FROM bronze
WHERE error_reason IS NOT NULL {since}
GROUP BY ALL ORDER BY records DESC, reason
"""


def list_tables(connection: DuckDBPyConnection, _: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return every table, view and mart with its columns."""
    tables = [_table(spec) for spec in (*TABLES, DQ_RESULTS, OFFSET_GAPS)]
    progress = [{"name": name, "type": kind, "comment": ""} for name, kind in PROGRESS_COLUMNS.items()]
    tables.append(
        {"name": "stream_progress", "description": "The micro-batches of the streams, newest files.", "columns": progress}
    )
    described = {mart.name: _header(mart.sql) for mart in MARTS}
    comments = {column.name: column.doc for column in GOLD.columns}
    statement = (
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        f"WHERE database_name = '{MARTS_CATALOG}' AND NOT internal ORDER BY table_name, column_index"
    )
    rows = run_query(connection, statement, max_rows=0, seconds=seconds).rows
    columns: dict[str, list[dict[str, Any]]] = {}
    for table, name, kind, comment in rows:
        columns.setdefault(table, []).append({"name": name, "type": kind, "comment": comment or comments.get(name, "")})
    for name, found in columns.items():
        text = described.get(name, "When the marts were built, and from which snapshots.")
        tables.append({"name": f"{MARTS_CATALOG}.{name}", "description": text, "columns": found})
    hint = "" if columns else "There are no marts yet: `rtap marts refresh` builds them."
    return {"tables": tables, "hint": hint}


def query_sql(connection: DuckDBPyConnection, arguments: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return the result of one query, at most `max_rows` rows and a megabyte."""
    result = run_query(connection, arguments["statement"], max_rows=arguments["max_rows"], seconds=seconds)
    rows, size = [], 0
    for row in result.rows:
        values = [json_value(value) for value in row]
        size += len(json.dumps(values, ensure_ascii=False))
        if size > MOST_CHARACTERS:
            break
        rows.append(values)
    columns = [{"name": name, "type": kind} for name, kind in zip(result.columns, result.types, strict=True)]
    return {"columns": columns, "rows": rows, "is_truncated": result.is_truncated or len(rows) < len(result.rows)}


def dead_letters(connection: DuckDBPyConnection, arguments: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return the quarantined records by reason. Details hold what producers wrote: made visible, and cut."""
    hours = arguments.get("hours")
    # As seconds, since an interval is made of whole numbers.
    since = "" if hours is None else f"AND kafka_timestamp >= now() - to_seconds({float(hours) * 3_600!r})"
    rows = run_query(connection, DEAD_LETTERS.format(details=DETAILS, since=since), max_rows=0, seconds=seconds).rows
    explained = {str(code): text for code, text in EXPLANATIONS.items()}
    reasons = [
        {
            "reason": reason,
            "meaning": explained.get(reason, ""),
            "records": records,
            "first_seen": json_value(first_seen),
            "last_seen": json_value(last_seen),
            "newest": [
                {"record": place, "detail": visible(detail or None)} for place, detail in zip(newest, details, strict=True)
            ],
        }
        for reason, records, first_seen, last_seen, newest, details in rows
    ]
    return {"records": sum(row[1] for row in rows), "reasons": reasons}


READERS: dict[str, Callable[[DuckDBPyConnection, Mapping[str, Any], float], Any]] = {
    "list_tables": list_tables,
    "query_sql": query_sql,
    "dead_letters": dead_letters,
}


def json_value(value: Any) -> Any:
    """Return a value that JSON holds exactly: decimals, large numbers, instants and bytes as text."""
    is_exact = isinstance(value, int) and abs(value) < EXACT
    if value is None or is_exact or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [json_value(one) for one in value]
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, bytes):
        return _cut(value[:MOST_CELL_CHARACTERS].hex())
    return _cut(value.isoformat() if isinstance(value, datetime | date) else str(value))


def _cut(text: str) -> str:
    # A surrogate that stands alone is no text that a pipe could carry.
    shown = text.encode("utf-8", errors="backslashreplace").decode("utf-8")
    return shown if len(shown) <= MOST_CELL_CHARACTERS else shown[: MOST_CELL_CHARACTERS - 1] + "…"


def _table(spec: TableSpec) -> dict[str, Any]:
    columns = [{"name": column.name, "type": column.type, "comment": column.doc} for column in spec.columns]
    return {
        "name": spec.view,
        "description": f"{spec.doc} {spec.note} Grain: {spec.grain}.".replace("  ", " "),
        "columns": columns,
    }


def _header(sql: str) -> str:
    lines = sql.strip().splitlines()
    return " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))
