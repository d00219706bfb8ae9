"""Work on the tables in a Spark session of the caller, while no stream host owns the checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.operations.corrections.api import correct, finish
from rtap_assets.streaming.operations.corrections.erase import erase_account
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.operations.maintenance import maintain_tables
from rtap_assets.streaming.operations.rejudge import RejudgeOptions, rejudge
from rtap_assets.streaming.queries.definitions import GOLD_STREAM, STREAMS

Echo = Callable[[str], None]


@dataclass(frozen=True)
class SessionWork:
    """No stream runs meanwhile: what the work needs read or reads in the end is drained here."""

    session: SparkSession
    settings: Settings
    requested_by: str
    echo: Echo

    def maintain(self) -> dict[str, Any]:
        return maintain_tables(self.session, self.settings, echo=self.echo).to_json()

    def correct(self, *, dry_run: bool = False) -> dict[str, Any]:
        self._drain(GOLD_STREAM.name)
        run = self._correction_run()
        report = correct(run, dry_run=dry_run).to_json()
        if not dry_run:
            gold = self._drain(GOLD_STREAM.name)
            report["pending"] -= finish(run)
            self.echo(f"gold is up to date: {gold.input_rows:,} rows read")
        return report

    def erase(self, account_id: str, *, dry_run: bool) -> dict[str, Any]:
        for name, stream in STREAMS.items():
            if not stream.reads_kafka and not dry_run:
                self._drain(name)
        return erase_account(self._correction_run(), account_id, dry_run=dry_run).to_json()

    def rejudge(self, options: RejudgeOptions) -> dict[str, Any]:
        run = self._correction_run()
        report = rejudge(run, options)
        if report["added"]:
            self._drain(GOLD_STREAM.name)
            finish(run)
        return report

    def _drain(self, name: str) -> DrainReport:
        return drain_stream(self.session, self.settings, name)

    def _correction_run(self) -> CorrectionRun:
        waits_for_no_stream = self.settings.model_copy(update={"correction_wait_seconds": 0})
        return CorrectionRun(self.session, waits_for_no_stream, requested_by=self.requested_by, echo=self.echo)
