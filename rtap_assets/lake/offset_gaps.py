"""`quality.offset_gaps`: offsets that have no row in bronze, written down while it can still be said why.

PyIceberg appends, so that no Spark session is needed. Up to which offsets a pass has looked for gaps is a property of the
table, changed in the same commit as the rows. Writers take turns (a lock on this machine), and a lost race is no commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import IntegerType, LongType, NestedField, PrimitiveType, StringType, TimestamptzType
from sqlalchemy.exc import SQLAlchemyError

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import OFFSET_GAPS, OffsetGap
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.lake.catalog import open_catalog
from rtap_assets.lake.table_lock import locked_table
from rtap_assets.runtime.clock import utc_now

LOOKED_AT_PROPERTY = "rtap.gaps-looked-at"
TABLE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    # PyIceberg would append the rows again to whatever another writer has committed meanwhile.
    "commit.retry.num-retries": "0",
}
_TYPES: dict[str, PrimitiveType] = {
    "string": StringType(),
    "int": IntegerType(),
    "bigint": LongType(),
    "timestamp": TimestamptzType(),
}


def read_gaps(settings: Settings) -> list[OffsetGap]:
    """Return every recorded gap, in the order of topic, epoch, Kafka partition and offset.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with _translated(settings), open_catalog(settings) as catalog:
        table = _existing(catalog)
        return [] if table is None else _gaps_of(table)


def looked_at(settings: Settings, topic: str, topic_epoch: int) -> dict[int, int]:
    """Return, by Kafka partition, the offset up to which gaps were looked for; {} before the first pass.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with _translated(settings), open_catalog(settings) as catalog:
        table = _existing(catalog)
        return {} if table is None else _looked_at(table).get(_key(topic, topic_epoch), {})


def record_gaps(settings: Settings, gaps: Sequence[OffsetGap]) -> int:
    """Write down gaps; one that is recorded already (the same offsets and kind) is left out. Returns how many were new.

    Raises:
        StreamError: another writer kept the table for long.
        DependencyUnavailable: the catalog does not answer.
    """
    return _commit(settings, gaps, lambda _: {}) or 0


def record_pass(
    settings: Settings,
    gaps: Sequence[OffsetGap],
    *,
    topic: str,
    topic_epoch: int,
    before: Mapping[int, int],
    after: Mapping[int, int],
) -> bool:
    """Write down what a pass found between two positions, and that it looked there.

    Returns False, and writes nothing, when another pass has looked there meanwhile. Raises like `record_gaps`.
    """
    key = _key(topic, topic_epoch)

    def moved(table: Table) -> dict[str, str] | None:
        seen = _looked_at(table)
        if seen.get(key, {}) != dict(before):
            return None
        return {LOOKED_AT_PROPERTY: json.dumps(seen | {key: dict(after)})}

    return _commit(settings, gaps, moved) is not None


def _commit(settings: Settings, gaps: Sequence[OffsetGap], moved: object) -> int | None:
    assert callable(moved)
    now = utc_now()
    with (
        _translated(settings),
        locked_table(settings, OFFSET_GAPS.identifier, holder="Another program"),
        open_catalog(settings) as catalog,
    ):
        table = _table(catalog)
        properties = moved(table)
        if properties is None:
            return None
        known = {gap.identity for gap in _gaps_of(table)} if gaps else set()
        fresh = [replace(gap, recorded_at=gap.recorded_at or now) for gap in gaps if gap.identity not in known]
        if fresh or properties:
            with table.transaction() as transaction:
                if fresh:
                    transaction.append(_rows(table, fresh))
                if properties:
                    transaction.set_properties(properties)
        return len(fresh)


@contextmanager
def _translated(settings: Settings) -> Iterator[None]:
    try:
        yield
    except CommitFailedException as error:
        raise DependencyUnavailable(
            f"Another program has changed {OFFSET_GAPS.identifier} at the same time: {error}.",
            remedy="Try again; nothing was changed.",
            dependency="catalog",
        ) from error
    except SQLAlchemyError as error:
        raise DependencyUnavailable(
            f"The Iceberg catalog of {settings.state_dir} did not answer: {error}.",
            remedy="Try again; nothing was changed.",
            dependency="catalog",
        ) from error


def _existing(catalog: Catalog) -> Table | None:
    try:
        return catalog.load_table(OFFSET_GAPS.identifier)
    except NoSuchTableError:
        return None


def _table(catalog: Catalog) -> Table:
    catalog.create_namespace_if_not_exists(OFFSET_GAPS.namespace)
    return catalog.create_table_if_not_exists(OFFSET_GAPS.identifier, schema=_schema(), properties=TABLE_PROPERTIES)


def _schema() -> Schema:
    return Schema(
        *(
            NestedField(number, column.name, _TYPES[column.type], required=False, doc=column.doc)
            for number, column in enumerate(OFFSET_GAPS.columns, start=1)
        )
    )


def _rows(table: Table, gaps: Sequence[OffsetGap]) -> pa.Table:
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    return pa.Table.from_pylist([asdict(gap) for gap in gaps], schema=schema)


def _gaps_of(table: Table) -> list[OffsetGap]:
    rows = table.scan().to_arrow().to_pylist()
    gaps = [OffsetGap(**{name: row[name] for name in OffsetGap.__dataclass_fields__}) for row in rows]
    return sorted(gaps, key=lambda gap: gap.identity)


def _looked_at(table: Table) -> dict[str, dict[int, int]]:
    document = json.loads(table.properties.get(LOOKED_AT_PROPERTY, "{}"))
    return {key: {int(partition): offset for partition, offset in seen.items()} for key, seen in document.items()}


def _key(topic: str, topic_epoch: int) -> str:
    return f"{topic}/{topic_epoch}"
