"""`quality.dq_results`: the results of checks as an Iceberg table, filled from the topic of results.

PyIceberg appends, so that no Spark session is needed. The offsets up to which the topic is in the table are a property of
the table, changed in the same commit as the rows: a repeated or interrupted copy neither loses nor doubles a message. The
table has no table partitions: PyIceberg makes day partitions only with a package that nothing else here needs, and a month
of results is a few megabytes. The maintenance removes old rows, compacts, and expires snapshots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import LessThan
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BooleanType,
    DoubleType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestamptzType,
)
from sqlalchemy.exc import SQLAlchemyError

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.lake.catalog import open_catalog
from rtap_assets.quality.catalog import DQ_RESULTS, DqResult

OFFSETS_PROPERTY = "rtap.dq-offsets"
TABLE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
_TYPES: dict[str, PrimitiveType] = {
    "string": StringType(),
    "boolean": BooleanType(),
    "double": DoubleType(),
    "bigint": LongType(),
    "timestamp": TimestamptzType(),
}


def archived_offsets(settings: Settings) -> dict[int, int]:
    """Kafka partition -> the offset up to which the topic of results is in the table; {} before the first copy.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    try:
        with open_catalog(settings) as catalog:
            return _offsets_of(_table(catalog))
    except SQLAlchemyError as error:
        raise _unavailable(settings, error) from error


def append_results(
    settings: Settings, results: Sequence[DqResult], *, before: Mapping[int, int], after: Mapping[int, int]
) -> bool:
    """Append the results that lie between two positions of the topic, in one commit with the new position.

    Returns False, and writes nothing, when the table no longer stands at `before`: somebody else was faster.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    try:
        with open_catalog(settings) as catalog:
            table = _table(catalog)
            if _offsets_of(table) != dict(before):
                return False
            with table.transaction() as transaction:
                if results:
                    transaction.append(_rows(table, results))
                transaction.set_properties({OFFSETS_PROPERTY: json.dumps(dict(after))})
    except CommitFailedException:
        return False
    except SQLAlchemyError as error:
        raise _unavailable(settings, error) from error
    return True


def remove_old_results(settings: Settings, *, now: datetime) -> None:
    """Delete the rows that are older than `dq_results_retention_days`; does nothing when there are none.

    Raises:
        StreamError: an append at the same time won; the table is as it was.
        DependencyUnavailable: the catalog does not answer.
    """
    cutoff = now - timedelta(days=settings.dq_results_retention_days)
    try:
        with open_catalog(settings) as catalog:
            table = _table(catalog)
            expired = LessThan("measured_at", cutoff.isoformat())
            if any(True for _ in table.scan(row_filter=expired, selected_fields=("result_id",)).plan_files()):
                table.delete(expired)
    except CommitFailedException as error:
        raise StreamError(
            f"Old rows of {DQ_RESULTS.identifier} could not be removed: {error}.",
            remedy="The table is as before; the next maintenance tries again.",
        ) from error
    except SQLAlchemyError as error:
        raise _unavailable(settings, error) from error


def _table(catalog: Catalog) -> Table:
    catalog.create_namespace_if_not_exists(DQ_RESULTS.namespace)
    return catalog.create_table_if_not_exists(DQ_RESULTS.identifier, schema=_schema(), properties=TABLE_PROPERTIES)


def _schema() -> Schema:
    return Schema(
        *(
            NestedField(number, column.name, _TYPES[column.type], required=False, doc=column.doc)
            for number, column in enumerate(DQ_RESULTS.columns, start=1)
        )
    )


def _rows(table: Table, results: Sequence[DqResult]) -> pa.Table:
    rows = [asdict(result) | {"detail": json.dumps(dict(result.detail), sort_keys=True)} for result in results]
    return pa.Table.from_pylist(rows, schema=schema_to_pyarrow(table.schema(), include_field_ids=False))


def _offsets_of(table: Table) -> dict[int, int]:
    text = table.properties.get(OFFSETS_PROPERTY, "{}")
    return {int(partition): int(offset) for partition, offset in json.loads(text).items()}


def _unavailable(settings: Settings, error: Exception) -> DependencyUnavailable:
    return DependencyUnavailable(
        f"The Iceberg catalog of {settings.state_dir} did not answer: {error}.",
        remedy="Try again; nothing was changed.",
        dependency="catalog",
    )
