"""The chain by hand, in one Python process: what the work costs where nothing is promised. Usage: handwritten.py OUTPUT

One thread consumes and builds an Avro container file per schema id in memory; the other has polars decode it, judges the
rows, writes bronze, drops event ids that it has seen (a set, without limit, in memory alone), writes silver, adds up gold
and commits the offsets. Runs in an environment of its own (polars), so it imports nothing of the platform.
"""

from __future__ import annotations

import gc
import io
import os
import queue
import sys
import threading
import time
from pathlib import Path

import polars as pl
from confluent_kafka import Consumer, Message, TopicPartition

TOPIC, BATCH = os.environ["TOPIC"], 200_000
TIERS, REGIONS = ["free", "starter", "pro", "enterprise"], ["na", "emea", "apac", "latam"]
GROUP = ["window_start", "plan_tier", "region", "currency"]
SYNC = b"one-sync-marker!"
HEADER_BYTES = 5
LEAST_BODY_BYTES = 12  # one a field
Parts = dict[bytes, tuple[list[bytes], list[int]]]


def varint(number: int) -> bytes:
    """Return a number as Avro writes it."""
    number, out = number << 1, bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def container_header(schema: str) -> bytes:
    """Return the beginning of an Avro container file."""
    fields = {b"avro.schema": schema.encode(), b"avro.codec": b"null"}
    entries = b"".join(varint(len(key)) + key + varint(len(value)) + value for key, value in fields.items())
    return b"Obj\x01" + varint(len(fields)) + entries + b"\0" + SYNC


HEADERS = {
    b"\0" + int(path.stem).to_bytes(4, "big"): container_header(path.read_text())
    for path in Path(os.environ["SCHEMAS"]).glob("*.avsc")
}


def decoded(header: bytes, bodies: list[bytes], places: list[int], bad: list[int]) -> list[tuple[pl.DataFrame, list[int]]]:
    """Return what decodes, with its places; a block that fails is halved until the bad records stand alone."""
    body = b"".join(bodies)
    try:
        frame = pl.read_avro(io.BytesIO(header + varint(len(bodies)) + varint(len(body)) + body + SYNC))
        if frame.height == len(bodies):
            return [(frame, places)]
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        pass  # damaged: polars ends early, refuses or panics
    if len(bodies) == 1:
        bad.append(places[0])
        return []
    half = len(bodies) // 2
    return decoded(header, bodies[:half], places[:half], bad) + decoded(header, bodies[half:], places[half:], bad)


def framed(batch: list[Message]) -> tuple[pl.DataFrame, Parts, list[int]]:
    """Return where each record stands, the bodies and places by header, and the places of those with no known header."""
    where = pl.DataFrame(
        {
            "partition": [one.partition() for one in batch],
            "offset": [one.offset() for one in batch],
            "kafka_ms": [one.timestamp()[1] for one in batch],
        },
        schema={"partition": pl.Int32, "offset": pl.Int64, "kafka_ms": pl.Int64},
    )
    parts: Parts = {header: ([], []) for header in HEADERS}
    bad = []
    for place, value in enumerate([one.value() or b"" for one in batch]):
        group = parts.get(value[:HEADER_BYTES])
        if group is None or len(value) < HEADER_BYTES + LEAST_BODY_BYTES:
            bad.append(place)
        else:
            group[0].append(value[HEADER_BYTES:])
            group[1].append(place)
    return where, parts, bad


def bronze_of(where: pl.DataFrame, parts: Parts, bad: list[int]) -> pl.DataFrame:
    """Return every record with its fields, or with the reason why it has none."""
    error = (
        pl.when(~pl.col("plan_tier").is_in(TIERS))
        .then(pl.lit("unknown_plan_tier"))
        .when(~pl.col("region").is_in(REGIONS))
        .then(pl.lit("unknown_region"))
    )
    frames = [
        pl.concat([where[places], frame.with_columns(error=error)], how="horizontal")
        for header, (bodies, all_places) in parts.items()
        if bodies
        for frame, places in decoded(HEADERS[header], bodies, all_places, bad)
    ]
    return pl.concat([*frames, where[bad].with_columns(error=pl.lit("undecodable"))], how="diagonal")


class Chain:
    """The tables, what was seen, and the sums so far."""

    def __init__(self, output: Path) -> None:
        self.output, self.seen, self.gold, self.batches = output, set(), None, 0
        for layer in ("bronze", "silver", "gold"):
            (output / layer).mkdir(parents=True)

    def take(self, where: pl.DataFrame, parts: Parts, bad: list[int]) -> None:
        """Take one batch through all layers."""
        rows = bronze_of(where, parts, bad)
        self.write(rows, f"bronze/{self.batches:05d}")
        valid = rows.filter(pl.col("error").is_null()).drop("error", "partition", "offset")
        fresh, add, size = [], self.seen.add, len(self.seen)
        for event_id in valid["event_id"].to_list():
            add(event_id)
            fresh.append(len(self.seen) != size)
            size = len(self.seen)
        amount = pl.when(pl.col("event_type") == "refund").then(-pl.col("amount")).otherwise(pl.col("amount"))
        events = valid.filter(pl.Series(fresh)).with_columns(pl.col("currency").str.to_uppercase(), net_amount=amount)
        self.write(events, f"silver/{self.batches:05d}")
        window = (pl.col("event_time").dt.epoch("s") // 300 * 300).alias("window_start")
        sums = events.group_by(window, *GROUP[1:]).agg(revenue=pl.sum("net_amount"), events=pl.len().cast(pl.Int64))
        if self.gold is not None:
            sums = pl.concat([self.gold, sums]).group_by(GROUP).agg(pl.sum("revenue"), pl.sum("events"))
        self.gold = sums
        self.write(sums, "gold/gold")
        self.batches += 1

    def write(self, rows: pl.DataFrame, name: str) -> None:
        fresh = self.output / f"{name}.new"
        rows.write_parquet(fresh, compression="snappy", statistics=True, row_group_size=500_000)
        fresh.rename(self.output / f"{name}.parquet")


def main() -> None:
    """Drain the topic as it is now."""
    consumer = Consumer({
        "bootstrap.servers": os.environ["BROKERS"], "group.id": "peers-handwritten", "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "queued.min.messages": 1_000_000, "queued.max.messages.kbytes": 262_144,
        "fetch.message.max.bytes": 8_388_608,
    })  # fmt: skip
    partitions = [TopicPartition(TOPIC, number) for number in consumer.list_topics(TOPIC).topics[TOPIC].partitions]
    position, ends = {}, {}
    for partition in partitions:
        partition.offset, ends[partition.partition] = consumer.get_watermark_offsets(partition)
        position[partition.partition] = partition.offset
    consumer.assign(partitions)
    chain, waiting, failures = Chain(Path(sys.argv[1])), queue.Queue(2), []

    def work() -> None:
        while (entry := waiting.get()) is not None:
            if failures:
                continue
            try:
                chain.take(*entry[0])
                offsets = [TopicPartition(TOPIC, number, offset) for number, offset in entry[1].items()]
                consumer.commit(offsets=offsets, asynchronous=False)
            except BaseException as error:  # raised again by the thread that reads
                failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    mark("ready")
    batch: list[Message] = []
    while not failures and any(position[number] < end for number, end in ends.items()):
        for message in consumer.consume(20_000, 1.0):
            if message.error():
                raise RuntimeError(message.error())
            position[message.partition()] = message.offset() + 1
            batch.append(message)
        if len(batch) >= BATCH:
            waiting.put((framed(batch), dict(position)))
            batch = []
    if batch:
        waiting.put((framed(batch), dict(position)))
    waiting.put(None)
    worker.join()
    if failures:
        raise failures[0]
    mark("commit")


def mark(name: str) -> None:
    print(f"MARK {name} {time.time():.3f}", flush=True)


if __name__ == "__main__":
    gc.disable()  # there are no circles, and the collector would walk millions of records
    main()
