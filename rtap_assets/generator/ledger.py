"""The ledger: what a run intended, on disk before it is sent, and the outcomes. The oracle of every comparison.

`<ledger_dir>/<run_id>/intended-NNNNNN.parquet` and `outcome-NNNNNN.parquet`, one pair per chunk, each complete or absent.
A record without an outcome (the process was killed) counts as one whose outcome is unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rtap_assets.errors import ConfigurationError
from rtap_assets.generator.chunks import BAD, DUPLICATE, GOOD, OWN_RUN, Chunk
from rtap_assets.generator.events import Columns, objects
from rtap_assets.runtime.files import replacing

# `rolled back`: in a transaction that was aborted, or left open for the broker to abort; no committed reader receives it.
ACKNOWLEDGED, UNKNOWN, FAILED, ROLLED_BACK = "acknowledged", "unknown", "failed", "rolled back"
REPLAY_FILE = "replay.parquet"
MONEY = pa.decimal128(18, 4)
# Dictionary encoding pays off for these; for ids and digests it would cost more than everything else.
CODES = ("run_id", "kind", "duplicate_of_run", "reason", "event_type", "plan_tier", "region", "currency", "outcome")

INTENDED = pa.schema(
    [
        ("run_id", pa.string()),
        ("sequence", pa.int64()),
        ("kind", pa.string()),
        ("duplicate_of_run", pa.string()),
        ("duplicate_of", pa.int64()),
        ("reason", pa.string()),
        ("event_id", pa.string()),
        ("account_id", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("event_type", pa.string()),
        ("plan_tier", pa.string()),
        ("region", pa.string()),
        ("currency", pa.string()),
        ("amount", MONEY),
        ("net_amount", MONEY),
        ("schema_version", pa.int32()),
        ("value_md5", pa.string()),
        ("delayed", pa.bool_()),
    ]
)
OUTCOME = pa.schema(
    [
        ("run_id", pa.string()),
        ("sequence", pa.int64()),
        ("outcome", pa.string()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a chunk's records, row by row; partition and offset are -1 unless acknowledged."""

    outcome: NDArray[np.object_]
    kafka_partition: NDArray[np.int32]
    kafka_offset: NDArray[np.int64]


class LedgerWriter:
    """Writes one run's ledger. Each file is flushed to disk under a temporary name and then renamed."""

    def __init__(self, ledger_dir: Path, run_id: str) -> None:
        self.run_id = run_id
        self.folder = ledger_dir / run_id
        if self.folder.exists() and any(self.folder.iterdir()):
            raise ConfigurationError(f"A ledger of a run {run_id} already exists.", remedy="Choose another --run-id.")
        self.folder.mkdir(parents=True, exist_ok=True)

    def intend(self, chunk: Chunk) -> None:
        """Record the chunk before it is sent."""
        write_durably(_intended_table(chunk, self.run_id), self.folder / f"intended-{chunk.number + 1:06d}.parquet")

    def settle(self, chunk: Chunk, outcomes: Outcomes) -> None:
        """Record the chunk's outcomes."""
        table = outcome_table(chunk, outcomes, run_id=self.run_id)
        write_durably(table, self.folder / f"outcome-{chunk.number + 1:06d}.parquet")

    def keep_for_replay(self, good: Columns) -> None:
        """Keep some complete good records for a later run to send again."""
        own = objects([self.run_id if run == OWN_RUN else run for run in good["origin_run"]])
        table = pa.table({name: pa.array(column) for name, column in (good | {"origin_run": own}).items()})
        write_durably(table, self.folder / REPLAY_FILE)


def _intended_table(chunk: Chunk, run_id: str) -> pa.Table:
    """Return the chunk as ledger rows. A bad record keeps only what its bytes carry; its amounts do not count."""
    columns = chunk.columns
    bad, copied = chunk.kind == BAD, chunk.kind == DUPLICATE
    original_run = objects([run_id if run == OWN_RUN else run for run in columns["origin_run"][copied]])
    duplicate_of_run = objects([None] * len(chunk))
    duplicate_of_run[copied] = original_run
    event_time = (columns["event_time"] * 1000).astype("datetime64[us]")
    digests = [
        None if value is None else hashlib.md5(value, usedforsecurity=False).hexdigest() for value in columns["value"]
    ]
    arrays = {
        "run_id": pa.array([run_id] * len(chunk)),
        "sequence": pa.array(chunk.first_sequence + np.arange(len(chunk))),
        "kind": pa.array(chunk.kind, pa.string()),
        "duplicate_of_run": pa.array(duplicate_of_run, pa.string()),
        "duplicate_of": pa.array(columns["origin_sequence"], mask=~copied),
        "reason": pa.array(chunk.reason, pa.string()),
        "event_id": pa.array(columns["event_id"], pa.string()),
        "event_time": pa.array(event_time, pa.timestamp("us", tz="UTC"), mask=bad),
        "amount": _money(columns["amount"], mask=bad),
        "net_amount": _money(columns["net_amount"], mask=bad),
        "schema_version": pa.array(columns["schema_version"], mask=bad),
        "value_md5": pa.array(digests, pa.string()),
        "delayed": pa.array(columns["delayed"]),
        "account_id": pa.array(columns["account_id"], pa.string()),
    } | {name: pa.array(columns[name], pa.string(), mask=bad) for name in ("event_type", "plan_tier", "region", "currency")}
    return pa.table([arrays[name] for name in INTENDED.names], schema=INTENDED)


def outcome_table(chunk: Chunk, outcomes: Outcomes, *, run_id: str) -> pa.Table:
    """Return the chunk's outcomes as ledger rows."""
    nowhere = outcomes.kafka_offset < 0
    return pa.table(
        [
            pa.array([run_id] * len(chunk)),
            pa.array(chunk.first_sequence + np.arange(len(chunk))),
            pa.array(outcomes.outcome, pa.string()),
            pa.array(outcomes.kafka_partition, pa.int32(), mask=nowhere),
            pa.array(outcomes.kafka_offset, pa.int64(), mask=nowhere),
        ],
        schema=OUTCOME,
    )


def write_durably(table: pa.Table, path: Path) -> None:
    """Write a Parquet file that is on disk, whole, when this returns, or absent."""
    with replacing(path, durable=True) as file:
        pq.write_table(table, file, compression="lz4", use_dictionary=[name for name in CODES if name in table.column_names])


def read_replay(ledger_dir: Path, *, usable: Callable[[Columns], NDArray[np.bool_]]) -> Columns | None:
    """Return the `usable` records that the newest earlier run kept; None if there are none."""
    files = sorted(ledger_dir.glob(f"*/{REPLAY_FILE}"), key=lambda path: (path.stat().st_mtime_ns, path))
    if not files:
        return None
    table = pq.read_table(files[-1], partitioning=None)
    columns = {name: _array_of(table.column(name)) for name in table.column_names}
    kept = np.flatnonzero(usable(columns))
    return {name: column[kept] for name, column in columns.items()} if len(kept) else None


def counts(chunk: Chunk) -> tuple[dict[str, int], dict[str, int]]:
    """Return the number of records by kind, and by reason."""
    kinds = {kind: int((chunk.kind == kind).sum()) for kind in (GOOD, DUPLICATE, BAD)}
    reasons: dict[str, int] = {}
    for reason in chunk.reason[chunk.kind == BAD]:
        reasons[reason.value] = reasons.get(reason.value, 0) + 1
    return kinds, reasons


def _money(unscaled: NDArray[np.int64], *, mask: NDArray[np.bool_]) -> pa.Array:
    """Return ten-thousandths as decimal(18,4), without a Python object per value."""
    words = np.empty((len(unscaled), 2), dtype=np.int64)
    words[:, 0], words[:, 1] = unscaled, unscaled >> 63
    valid = np.packbits(~mask, bitorder="little")
    return pa.Array.from_buffers(MONEY, len(unscaled), [pa.py_buffer(valid), pa.py_buffer(words)])


def _array_of(column: Any) -> NDArray[Any]:
    return np.array(column.to_numpy(zero_copy_only=False)) if column.type in _NUMBERS else objects(column.to_pylist())


_NUMBERS = {pa.int64(), pa.int32(), pa.bool_()}
