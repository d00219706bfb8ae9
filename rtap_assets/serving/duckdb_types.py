"""Maps the contract's column types to DuckDB's."""

from __future__ import annotations

from rtap_assets.contracts.tables import TableSpec

_PRIMITIVES = {
    "string": "VARCHAR",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "boolean": "BOOLEAN",
    "double": "DOUBLE",
    "binary": "BLOB",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}


def duckdb_type(contract_type: str) -> str:
    """Return a type of `contracts/tables.py` as DuckDB's DESCRIBE spells it.

    Raises:
        KeyError: the contract does not use the type yet; add it here and to the test that compares the engines.
    """
    text = contract_type.replace(" ", "")
    if text.startswith("decimal("):
        return text.upper()
    if text.startswith("array<"):
        return f"{duckdb_type(text[6:-1])}[]"
    if text.startswith("struct<"):
        fields = (field.split(":", 1) for field in split_fields(text[7:-1]))
        return "STRUCT(" + ", ".join(f'"{name}" {duckdb_type(kind)}' for name, kind in fields) + ")"
    return _PRIMITIVES[text]


def split_fields(text: str) -> list[str]:
    """Return the comma-separated fields of a struct, without splitting inside nested brackets."""
    fields, depth = [""], 0
    for character in text:
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            fields.append("")
        else:
            fields[-1] += character
    return fields


def typed_empty_select(spec: TableSpec) -> str:
    """Return a SELECT of no rows with the table's columns, types and order."""
    columns = ", ".join(f'CAST(NULL AS {duckdb_type(column.type)}) AS "{column.name}"' for column in spec.columns)
    return f"SELECT {columns} WHERE false"
