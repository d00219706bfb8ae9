"""Copies of events, sent again with a later event time: the same event id, another record. Pure, like `events`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastavro import schemaless_reader

from rtap_assets.contracts.avro.wire import HEADER_BYTES
from rtap_assets.generator.encoding import encode_datum
from rtap_assets.generator.events import Columns
from rtap_assets.generator.population import Integers


def copy_later(
    columns: Columns, rows: Integers, originals: Columns, picked: Integers, *, schemas: Mapping[int, dict[str, Any]]
) -> None:
    """Overwrite `rows` of `columns` with the picked originals, keeping the event and ingest time of each row.

    `schemas` are the writer schemas without logical types, by version.
    """
    times = {name: columns[name][rows].copy() for name in ("event_time", "ingest_time")}
    for name, column in columns.items():
        column[rows] = originals[name][picked]
    for place, row in enumerate(rows.tolist()):
        schema = schemas[int(columns["schema_version"][row])]
        value: bytes = columns["value"][row]
        event: dict[str, Any] = schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), schema, None)
        moved = event | {name: int(time[place]) for name, time in times.items()}
        columns["value"][row] = value[:HEADER_BYTES] + encode_datum(moved, schema)
    for name, time in times.items():
        columns[name][rows] = time
    columns["delayed"][rows] = np.False_
