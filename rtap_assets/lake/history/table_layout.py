"""Compares a table's columns and partitioning with its spec and history: what other tools have changed.

The platform only ever adds columns: a column of the spec that an earlier schema had and the current one lacks was dropped or
renamed by another program. Iceberg identifies a column by its id, not its name.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.table import Table

from rtap_assets.contracts.tables import TableSpec


@dataclass(frozen=True)
class LayoutChange:
    """One difference; `is_fatal`: rows that the streams write or read would lose values, or Iceberg would refuse them."""

    operation: str
    detail: str
    is_fatal: bool


def layout_changes(table: Table, spec: TableSpec) -> list[LayoutChange]:
    """Return what others changed in the table's columns and partitioning; columns new in the spec are not changes."""
    return [*_columns(table, spec), *_partitioning(table)]


def _columns(table: Table, spec: TableSpec) -> list[LayoutChange]:
    schemas = [table.schemas()[number] for number in sorted(table.schemas())]
    current = {field.field_id: field for field in table.schema().fields}
    names = {field.name for field in current.values()}
    first = {field.field_id: field for schema in reversed(schemas) for field in schema.fields}
    changes = []
    for field_id, field in first.items():
        now = current.get(field_id)
        if field.name in spec.column_names and field.name not in names:
            what = "was dropped" if now is None else f"was renamed to {now.name}"
            changes.append(LayoutChange("columns", f"column {field.name} {what}", is_fatal=True))
        elif field.name in spec.column_names and now is None:
            what = f"column {field.name} was dropped and added again: it is null in earlier rows"
            changes.append(LayoutChange("columns", what, is_fatal=False))
        if now is not None and now.field_type != field.field_type:
            what = f"column {now.name} was changed from {field.field_type} to {now.field_type}"
            changes.append(LayoutChange("columns", what, is_fatal=now.name in spec.column_names))
    for name in sorted(names - set(spec.column_names)):
        if not any(change.detail.endswith(f"renamed to {name}") for change in changes):
            changes.append(LayoutChange("columns", f"column {name} was added", is_fatal=False))
    return changes


def _partitioning(table: Table) -> list[LayoutChange]:
    first, now = table.specs()[min(table.specs())], table.spec()
    if [(one.source_id, one.transform) for one in first.fields] == [(one.source_id, one.transform) for one in now.fields]:
        return []
    detail = f"it is partitioned by {_named(table, now)}, no longer by {_named(table, first)}"
    return [LayoutChange("partitioning", detail, is_fatal=True)]


def _named(table: Table, spec: object) -> str:
    fields = getattr(spec, "fields", ())
    named = [f"{one.transform}({table.schema().find_column_name(one.source_id) or one.name})" for one in fields]
    return ", ".join(named) or "nothing"
