"""Reads the topic again, from bronze's beginning up to bronze's position, and keeps what the audit makes of each record.

Where the topic no longer has a record (retention), bronze's raw bytes are judged instead, and marked as not comparable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Message

from rtap_assets.audit.judging import TEXTS, Judge
from rtap_assets.audit.state import LakeState
from rtap_assets.config import Settings
from rtap_assets.contracts.dead_letters import Headers
from rtap_assets.kafka.bounded_read import read_committed
from rtap_assets.kafka.topics import beginning_offsets, end_offsets

# Kafka offset, timestamp in milliseconds, key, value, headers
Record = tuple[int, int, bytes | None, bytes | None, Headers]
Progress = Callable[[str, int, int], None]  # what is done, how much of how much

MONEY = pa.decimal128(18, 4)
INSTANT = pa.timestamp("ms", tz="UTC")
TYPES: dict[str, pa.DataType] = (
    {
        "topic_epoch": pa.int32(),
        "kafka_partition": pa.int32(),
        "kafka_offset": pa.int64(),
        "in_topic": pa.bool_(),
        "kafka_timestamp": INSTANT,
    }
    | {"raw_key": pa.binary(), "value_md5": pa.binary(), "verdict": pa.string()}
    | {"event_time": INSTANT, "ingest_time": INSTANT, "schema_version": pa.int32(), "quantity": pa.int32()}
    | dict.fromkeys(TEXTS, pa.string())
)
FIGURES = ("event_time", "ingest_time", "schema_version", "quantity", *TEXTS)
INSERT = """
INSERT INTO records BY NAME
SELECT * EXCLUDE (event_id), event_id::UUID AS event_uuid FROM {batch}
"""
ROWS_OF_RANGE = """
SELECT kafka_offset, epoch_ms(any_value(kafka_timestamp)), any_value(raw_key), any_value(raw_value),
    any_value(kafka_headers)
FROM bronze_source
WHERE topic = $topic AND coalesce(topic_epoch, 0) = $epoch AND kafka_partition = $partition
    AND kafka_offset >= $first AND kafka_offset < $last
GROUP BY kafka_offset
"""
NEXT_OFFSET = """
SELECT coalesce(max(kafka_offset) + 1, 0) FROM records WHERE topic_epoch = ? AND kafka_partition = ? AND kafka_offset < ?
"""
EARLIER_EPOCHS = """
INSERT INTO ranges
SELECT topic_epoch, kafka_partition, min(kafka_offset), max(kafka_offset) + 1, max(kafka_offset) + 1, max(kafka_offset) + 1
FROM bronze_rows WHERE topic_epoch < ? GROUP BY ALL
"""
OFFSETS_AT_ONCE, ROWS_AT_ONCE = 50_000, 20_000


def find_ranges(connection: duckdb.DuckDBPyConnection, settings: Settings, state: LakeState) -> None:
    """Fill `ranges`: from where to where each Kafka partition is compared.

    Raises:
        DependencyUnavailable: the broker did not answer.
        ConfigurationError: there is no such topic.
    """
    oldest, ends = beginning_offsets(settings, settings.topic_events), end_offsets(settings, settings.topic_events)
    firsts = connection.execute(
        "SELECT kafka_partition, min(kafka_offset), max(kafka_offset) FROM bronze_rows WHERE topic_epoch = ? GROUP BY ALL",
        [state.topic_epoch],
    ).fetchall()
    first_rows: Mapping[int, int] = {partition: first for partition, first, _ in firsts}
    beyond_rows: Mapping[int, int] = {partition: last + 1 for partition, _, last in firsts}
    connection.execute("DELETE FROM ranges")
    connection.execute(EARLIER_EPOCHS, [state.topic_epoch])
    for partition in sorted({*state.ends, *first_rows}):
        # A checkpoint that no longer says where it began: with the first row.
        begins = state.begins.get(partition, first_rows.get(partition, 0) if not state.begins else 0)
        begins = min(begins, first_rows.get(partition, begins))
        # A checkpoint that is gone: as far as the rows reach.
        end = state.ends.get(partition, beyond_rows.get(partition, 0))
        bounds = [begins, oldest.get(partition, 0), end, ends.get(partition, 0)]
        connection.execute("INSERT INTO ranges VALUES (?, ?, ?, ?, ?, ?)", [state.topic_epoch, partition, *bounds])


def read_records(
    connection: duckdb.DuckDBPyConnection, settings: Settings, judge: Judge, *, keep: Callable[[], None], progress: Progress
) -> int:
    """Fill `records` for all of `ranges`; returns how many came from the topic.

    Goes on after what an earlier call has read, so a second look at a living system costs what is new.

    Raises:
        DependencyUnavailable: broker or registry did not answer.
    """
    ranges = connection.execute(
        """SELECT kafka_partition, greatest(begins, oldest), least(ends, topic_end),
            (SELECT max(kafka_offset) FROM records AS r
                WHERE r.topic_epoch = ranges.topic_epoch AND r.kafka_partition = ranges.kafka_partition AND in_topic),
            topic_epoch
        FROM ranges WHERE topic_epoch = (SELECT max(topic_epoch) FROM ranges) ORDER BY kafka_partition"""
    ).fetchall()
    total = sum(max(0, end - start) for _, start, end, _, _ in ranges)
    done = 0
    for partition, start, end, newest, epoch in ranges:
        first = start if newest is None else newest + 1
        batches = read_committed(settings, settings.topic_events, partition, start=first, end=end)
        for messages in _gathered(batches):
            rows = ((m.offset(), m.timestamp()[1], m.key(), m.value(), _headers(m.headers())) for m in messages)
            insert_records(connection, judge, (epoch, partition), rows, in_topic=True)
            keep()
            progress("reading the topic again", done + (messages[-1].offset() or 0) - start, total)
        done += max(0, end - start)
    return done


def _headers(headers: Any) -> Headers:
    return tuple(headers) if headers else ()


def _gathered(batches: Iterable[list[Message]]) -> Iterator[list[Message]]:
    """The same messages in larger batches: each insertion is a commit."""
    gathered: list[Message] = []
    for batch in batches:
        gathered += batch
        if len(gathered) >= ROWS_AT_ONCE:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


def read_rows_without_record(
    connection: duckdb.DuckDBPyConnection, judge: Judge, *, topic: str, keep: Callable[[], None], progress: Progress
) -> int:
    """Judge, from bronze's own raw bytes, the rows whose record the topic no longer has; returns how many there are."""
    done = 0
    ranges = connection.execute(
        "SELECT topic_epoch, kafka_partition, begins, least(oldest, ends) FROM ranges ORDER BY ALL"
    ).fetchall()
    total = sum(max(0, oldest - begins) for _, _, begins, oldest in ranges)
    for epoch, partition, begins, oldest in ranges:
        known = connection.execute(NEXT_OFFSET, [epoch, partition, oldest]).fetchall()[0][0]
        for first in range(max(begins, known), oldest, OFFSETS_AT_ONCE):
            last = min(first + OFFSETS_AT_ONCE, oldest)
            bounds = {"epoch": epoch, "partition": partition, "first": first, "last": last, "topic": topic}
            found = connection.execute(ROWS_OF_RANGE, bounds).fetchall()
            rows = [(*row[:-1], tuple((one["key"], one["value"]) for one in row[-1] or ())) for row in found]
            insert_records(connection, judge, (epoch, partition), rows, in_topic=False)
            keep()
            done += len(rows)
            progress("judging rows whose record is no longer in the topic", done, total)
    return done


def insert_records(
    connection: duckdb.DuckDBPyConnection, judge: Judge, source: tuple[int, int], rows: Iterable[Record], *, in_topic: bool
) -> None:
    """Judge the records of one Kafka partition (`source`: epoch and number) and add them to `records`."""
    columns: dict[str, list[Any]] = {name: [] for name in TYPES}
    money: dict[str, list[int]] = {"amount": [], "net_amount": []}
    is_valid: list[bool] = []
    for offset, timestamp_ms, key, value, headers in rows:
        judged = judge.judge(key, value, timestamp_ms, headers)
        event = judged.event if judged.verdict is None else {}
        is_valid.append(judged.verdict is None)
        columns["kafka_offset"].append(offset)
        columns["kafka_timestamp"].append(timestamp_ms)
        columns["raw_key"].append(key)
        columns["value_md5"].append(None if value is None else hashlib.md5(value, usedforsecurity=False).digest())
        columns["verdict"].append(judged.verdict)
        for name in FIGURES:
            columns[name].append(event.get(name))
        for name, amounts in money.items():
            amounts.append(event.get(name, 0))
    size = len(is_valid)
    columns["topic_epoch"], columns["kafka_partition"] = [source[0]] * size, [source[1]] * size
    columns["in_topic"] = [in_topic] * size
    arrays = {name: pa.array(values, TYPES[name]) for name, values in columns.items()}
    arrays["event_id"] = pc.utf8_lower(arrays["event_id"])
    arrays |= {name: _decimals(amounts, np.array(is_valid)) for name, amounts in money.items()}
    connection.register("batch", pa.table(arrays))
    connection.execute(INSERT.format(batch="batch"))
    connection.unregister("batch")


def _decimals(unscaled: list[int], is_valid: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Array:
    """Ten-thousandths as decimal(18,4), without a Python object per value."""
    low = np.array(unscaled, dtype=np.int64)
    words = np.empty((len(low), 2), dtype=np.int64)
    words[:, 0], words[:, 1] = low, low >> 63
    mask = np.packbits(is_valid, bitorder="little")
    return pa.Array.from_buffers(MONEY, len(low), [pa.py_buffer(mask), pa.py_buffer(words)])
