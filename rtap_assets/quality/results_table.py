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
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import LessThan
from pyiceberg.table import Table

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import DQ_RESULTS
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import catalog_session
from rtap_assets.lake.record_table import RecordTable, as_rows
from rtap_assets.quality.catalog import DqResult

OFFSETS_PROPERTY = "rtap.dq-offsets"
RECORDS = RecordTable(DQ_RESULTS)


def archived_offsets(settings: Settings) -> dict[int, int]:
    """Return, by Kafka partition, the offset up to which the topic of results is in the table; {} before the first copy.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with catalog_session(settings) as catalog:
        return _offsets_of(RECORDS.ensure(catalog))


def append_results(
    settings: Settings, results: Sequence[DqResult], *, before: Mapping[int, int], after: Mapping[int, int]
) -> bool:
    """Append the results that lie between two positions of the topic, in one commit with the new position.

    Returns False, and writes nothing, when the table no longer stands at `before`: another writer was faster.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with catalog_session(settings) as catalog:
        table = RECORDS.ensure(catalog)
        if _offsets_of(table) != dict(before):
            return False
        try:
            with table.transaction() as transaction:
                if results:
                    transaction.append(as_rows(table, map(_record, results)))
                transaction.set_properties({OFFSETS_PROPERTY: json.dumps(dict(after))})
        except CommitFailedException:
            return False
    return True


def remove_old_results(settings: Settings, *, now: datetime) -> None:
    """Delete the rows that are older than `dq_results_retention_days`; does nothing when there are none.

    Raises:
        StreamError: an append at the same time won; the table is as it was.
        DependencyUnavailable: the catalog does not answer.
    """
    cutoff = now - timedelta(days=settings.dq_results_retention_days)
    with catalog_session(settings) as catalog:
        table = RECORDS.ensure(catalog)
        expired = LessThan("measured_at", cutoff.isoformat())
        try:
            if any(True for _ in table.scan(row_filter=expired, selected_fields=("result_id",)).plan_files()):
                table.delete(expired)
        except CommitFailedException as error:
            raise StreamError(
                f"Old rows of {DQ_RESULTS.identifier} could not be removed: {error}.",
                remedy="The table is as before; the next maintenance tries again.",
            ) from error


def _record(result: DqResult) -> dict[str, Any]:
    return asdict(result) | {"detail": json.dumps(dict(result.detail), sort_keys=True)}


def _offsets_of(table: Table) -> dict[int, int]:
    text = table.properties.get(OFFSETS_PROPERTY, "{}")
    return {int(partition): int(offset) for partition, offset in json.loads(text).items()}
