"""Erasure of an account: its rows leave bronze (raw bytes too) and silver; what remains of them is their place and money.

The record keeps the Kafka coordinates of the erased records, so that their offsets stay explained, and apart from them the
amounts per slide of gold's windows: gold keeps its sums, which hold no account, and equals silver plus what was erased.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts.corrections import CORRECTIONS, Cause
from rtap_assets.contracts.tables import BRONZE, SILVER, TableSpec
from rtap_assets.errors import ConfigurationError, StreamError
from rtap_assets.lake.corrections import ensure_corrections
from rtap_assets.lake.history.snapshots import table_state
from rtap_assets.streaming.lifecycle.drains import everything_there_is
from rtap_assets.streaming.operations.corrections.api import finish_pending
from rtap_assets.streaming.operations.corrections.apply import carry_out
from rtap_assets.streaming.operations.corrections.ledger import Correction, PlannedRows, write_plan
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.queries.definitions import STREAMS
from rtap_assets.transforms.corrections import with_first_epoch
from rtap_assets.transforms.gold import GROUP, MEASURES, sum_panes
from rtap_assets.transforms.silver import COORDINATES
from rtap_assets.transforms.text import trimmed

POLL_SECONDS = 0.2
ERASURE_WHY = "erasure of an account was asked for"


@dataclass(frozen=True)
class ErasureReport:
    """What was erased, or would be. `notes` say what cannot be removed here, and when the last files are gone."""

    correction_id: str | None
    bronze_rows: int
    silver_rows: int
    notes: tuple[str, ...]
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def erase_account(run: CorrectionRun, account_id: str, *, dry_run: bool = False) -> ErasureReport:
    """Erase what bronze and silver hold of an account, and say what remains elsewhere and until when.

    Raises:
        ConfigurationError: no account is named.
        StreamError: a stream has not read all of its source: it would write erased rows again.
        DependencyUnavailable: broker or catalog did not answer. What was begun is finished by the next correction.
    """
    account = account_id.strip()
    if not account:
        raise ConfigurationError("No account is named.", remedy="Pass --account with the account's id.")
    ensure_corrections(run.settings)
    with run.locked(CORRECTIONS), run.locked(SILVER):
        finish_pending(run)
        bronze, silver = _tables_to_erase_from(run, must_be_read=not dry_run)
        records = bronze.where(_belongs_to(account)).select(*COORDINATES).persist()
        events = silver.where(F.col("account_id") == account).persist()
        try:
            return _erase(run, account, records, events, dry_run=dry_run)
        finally:
            records.unpersist()
            events.unpersist()


def _belongs_to(account: str) -> Column:
    """Return the predicate of bronze rows that hold the account: decoded, as the key, or inside a quarantined value.

    In a value the id is looked for as Avro writes a string (its length before it) and as JSON does (in quotes), so that
    `acct-1` does not match `acct-10`.
    """
    text = account.encode()
    avro = _zigzag(len(text)) + text
    quoted = b'"' + text + b'"'
    contains = [F.expr(f"contains(raw_value, X'{needle.hex()}')") for needle in (avro, quoted)]
    inside = F.col("error_reason").isNotNull() & (contains[0] | contains[1])
    decoded = trimmed(F.col("account_id")) == account
    key = trimmed(F.col("raw_key").cast("string")) == account
    return F.coalesce(decoded, F.lit(False)) | F.coalesce(key, F.lit(False)) | F.coalesce(inside, F.lit(False))


def _erase(run: CorrectionRun, account: str, bronze: DataFrame, silver: DataFrame, *, dry_run: bool) -> ErasureReport:
    in_bronze, in_silver = int(bronze.count()), int(silver.count())
    notes = _notes(run)
    if dry_run or not (in_bronze or in_silver):
        return ErasureReport(None, in_bronze, in_silver, notes, dry_run)
    correction = Correction(
        uuid4().hex,
        Cause.ERASED,
        ERASURE_WHY,
        run.run_id,
        run.requested_by,
        rows_removed=in_silver,
        bronze_rows_removed=in_bronze,
        subject_hash=_salted_hash(run, account),
    )
    places = bronze.select(*COORDINATES).union(silver.select(*COORDINATES)).distinct()
    write_plan(run, correction, PlannedRows(removes=places, amounts=_amounts(run, silver)))
    run.on_step("planned")
    carry_out(run, correction)
    run.echo(f"{in_bronze:,} rows of {BRONZE.identifier} and {in_silver:,} of {SILVER.identifier} erased")
    return ErasureReport(correction.correction_id, in_bronze, in_silver, notes, dry_run)


def _amounts(run: CorrectionRun, silver: DataFrame) -> list[dict[str, Any]]:
    """The erased money by slide and group."""
    slide = run.settings.slide_seconds
    panes = sum_panes(silver, slide_seconds=slide)
    end = F.timestamp_micros(F.unix_micros("pane_start") + F.lit(slide * 1_000_000))
    measures = [F.col(name).alias(f"from_{name}") for name in MEASURES]
    rows: list[dict[str, Any]] = (
        panes.select(F.col("pane_start").alias("window_start"), end.alias("window_end"), *GROUP, *measures)
        .toArrow()
        .to_pylist()
    )
    return rows


def _tables_to_erase_from(run: CorrectionRun, *, must_be_read: bool) -> tuple[DataFrame, DataFrame]:
    """Bronze and silver as of snapshots that the streams below have read: what these had not read they would write again.

    Records that come meanwhile are not erased.
    """
    bronze = _newest(run, BRONZE)
    if must_be_read:
        _require_read(run, BRONZE)
    silver = _newest(run, SILVER)
    if must_be_read:
        _require_read(run, SILVER)
    return bronze, silver


def _newest(run: CorrectionRun, spec: TableSpec) -> DataFrame:
    snapshot_id = table_state(run.settings, spec).snapshot_id
    version = "" if snapshot_id is None else f" VERSION AS OF {snapshot_id}"
    return with_first_epoch(run.session.sql(f"SELECT * FROM {run.name(spec)}{version}"))


def _require_read(run: CorrectionRun, spec: TableSpec) -> None:
    """Wait until every stream that reads the table has read what it holds now; refuse where that takes long."""
    targets = {name: everything_there_is(run.settings, one) for name, one in STREAMS.items() if one.reads == spec}
    deadline = time.monotonic() + run.settings.correction_wait_seconds
    while behind := [name for name, has_read in targets.items() if not has_read()]:
        if time.monotonic() > deadline:
            raise StreamError(
                f"{', '.join(behind)} have not read all of their tables; they would write erased rows again.",
                remedy=f"Start or drain {', '.join(behind)}, then erase again; nothing was changed.",
            )
        time.sleep(POLL_SECONDS)


def _notes(run: CorrectionRun) -> tuple[str, ...]:
    settings = run.settings
    seconds = settings.snapshot_retention_seconds + settings.snapshot_expiry_interval_seconds
    return (
        f"The Kafka topics {settings.topic_events} and {settings.topic_dlq} keep their records until their retention ends; "
        "no program can take single records out of them. Records that bronze has not read yet will come in: stop the "
        "producer first, or erase again.",
        f"Older snapshots and the files that held the rows are removed within {seconds / 60:.0f} minutes after every stream "
        "has read later records, while the stream host runs; else by the next `rtap maintain` after that time.",
        "The marts and the Parquet folder hold sums only, and no account.",
    )


def _salted_hash(run: CorrectionRun, account: str) -> str:
    """A hash that recognizes the same request and cannot be looked up: the salt is this platform's own."""
    path = run.settings.streams_dir / "erasure.salt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(uuid4().hex + uuid4().hex, encoding="ascii")
    return hashlib.sha256((path.read_text(encoding="ascii") + account).encode()).hexdigest()


def _zigzag(number: int) -> bytes:
    """A length as Avro writes it."""
    rest, encoded = number << 1, bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*encoded, rest])
