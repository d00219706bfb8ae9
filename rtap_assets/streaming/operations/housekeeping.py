"""Upkeep of the tables inside the stream host: its session is warm, and it alone knows what each stream has read.

Old snapshots expire every few minutes, since each commit of a stream adds one, and corrections run at
an interval; the whole maintenance, erasures and new verdicts on quarantined rows run when they are asked for (Dagster's
schedules and jobs do). A thread of its own, so that no stream waits for it; gold alone is paused for its compaction and
while removed rows are subtracted from it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from threading import Event, Thread
from typing import Any

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TABLES, TableSpec
from rtap_assets.errors import RtapError
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.failures import as_error, root_cause
from rtap_assets.streaming.lifecycle.desired import read_desired
from rtap_assets.streaming.lifecycle.operation_log import Command, OperationLog
from rtap_assets.streaming.model.operation import TABLE_ACTIONS, Action, Operation, OperationError
from rtap_assets.streaming.model.states import Desired
from rtap_assets.streaming.operations.corrections.api import correct
from rtap_assets.streaming.operations.corrections.erase import erase_account
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.operations.maintenance import compact_when_due, expire_when_due, maintain_tables
from rtap_assets.streaming.operations.rejudge import RejudgeOptions, rejudge
from rtap_assets.streaming.queries.revenue_windows import REVENUE_WINDOWS

LONGEST_WORK_SECONDS = 3_600.0  # one maintenance of all tables, one correction
TABLES_NAME = "tables"  # in the place of a stream's name
Echo = Callable[[str], None]
Work = Callable[[Echo, Mapping[str, Any]], dict[str, Any]]
LOG = logging.getLogger(__name__)


class Housekeeper:
    """Looks after the tables of one host. `pause` stops a stream between batches for the time of a block."""

    def __init__(
        self,
        session: SparkSession,
        settings: Settings,
        *,
        pause: Callable[[str], AbstractContextManager[object]],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._session, self._settings, self._pause, self._clock = session, settings, pause, clock
        timeouts = dict.fromkeys(TABLE_ACTIONS, LONGEST_WORK_SECONDS)
        self._operations = OperationLog(TABLES_NAME, timeouts=timeouts, clock=clock)
        self._work: dict[Action, Work] = {
            Action.MAINTAIN: self._maintain,
            Action.CORRECT: self._correct,
            Action.ERASE: self._erase,
            Action.REJUDGE: self._rejudge,
        }
        self._closing, self._wake = Event(), Event()
        self._upkeep_due = time.monotonic() + settings.snapshot_expiry_interval_seconds
        self._files_then: dict[str, int] = {}  # by table, after its last compaction
        self._correction_due = self._next_correction()
        self._thread = Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, action: Action, arguments: Mapping[str, Any] | None = None) -> Operation:
        """Ask for one of `TABLE_ACTIONS`; returns at once. The operation's result is the report.

        Raises:
            ConfigurationError: the arguments are not those of the action.
        """
        if action is Action.REJUDGE:
            RejudgeOptions.from_json(arguments or {})
        operation = self._operations.submit(action, arguments).operation
        self._wake.set()
        return operation

    def operation(self, identifier: str) -> Operation | None:
        return self._operations.get(identifier)

    def close(self, seconds: float) -> None:
        """End after the step under way, or leave it to the end of the JVM: an unfinished one commits nothing."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(max(0.0, min(self._upkeep_due, self._correction_due) - time.monotonic()))
            self._wake.clear()
            for command in self._operations.pending():
                self._operations.begin(command)
                self._carry_out(command)
            if time.monotonic() >= self._upkeep_due:
                self._keep_small()
                self._upkeep_due = time.monotonic() + self._settings.snapshot_expiry_interval_seconds
            if time.monotonic() >= self._correction_due and not self._closing.is_set():
                self._correct_in_time()

    def _carry_out(self, command: Command) -> None:
        if self._closing.is_set():
            self._operations.fail(command, OperationError("The stream host ended.", "Ask again once it runs."))
            return
        try:
            report = self._work[command.action](lambda text: self._operations.step(command, text), command.arguments)
        except RtapError as error:
            self._operations.fail(command, OperationError(error.message, error.remedy))
        except Exception as error:  # the thread must live on: the failure becomes the operation's end
            LOG.exception("%s failed", command.action)
            failure = as_error(error, log=str(self._settings.log_dir / "spark.log"))
            self._operations.fail(command, OperationError(failure.message, failure.remedy))
        else:
            self._operations.succeed(command, report, step="done")

    def _maintain(self, echo: Echo, _: Mapping[str, Any]) -> dict[str, Any]:
        return maintain_tables(self._session, self._settings, echo=echo, pause=self._pause, clock=self._clock).to_json()

    def _correct(self, echo: Echo, arguments: Mapping[str, Any]) -> dict[str, Any]:
        run = self._run_of(echo, arguments)
        if not self._revenue_streams_run():  # then the next run, or a drain of gold and one more, goes on
            run = replace(run, settings=run.settings.model_copy(update={"correction_wait_seconds": 0}))
        report = correct(run, dry_run=bool(arguments.get("dry_run")))
        self._correction_due = self._next_correction()
        return report.to_json()

    def _erase(self, echo: Echo, arguments: Mapping[str, Any]) -> dict[str, Any]:
        run, account_id = self._run_of(echo, arguments), str(arguments.get("account_id", ""))
        return erase_account(run, account_id, dry_run=bool(arguments.get("dry_run"))).to_json()

    def _revenue_streams_run(self) -> bool:
        """Whether each stream that a correction would wait for is desired to run."""
        desired = read_desired(self._settings)
        return all(desired.get(name) is Desired.RUNNING for name in REVENUE_WINDOWS)

    def _run_of(self, echo: Echo, arguments: Mapping[str, Any]) -> CorrectionRun:
        return CorrectionRun(
            self._session,
            self._settings,
            requested_by=str(arguments.get("requested_by") or "stream host"),
            pause=self._pause,
            echo=echo,
            clock=self._clock,
        )

    def _next_correction(self) -> float:
        """Return the time an interval after the last one, requested or not."""
        return time.monotonic() + 60 * self._settings.corrections_interval_minutes

    def _correct_in_time(self) -> None:
        try:
            self._correct(LOG.info, {})
        except Exception as error:  # tried again after an interval; the checks show what waits for correction
            LOG.warning("corrections did not run: %s", str(error).splitlines()[0])
            self._correction_due = self._next_correction()

    def _rejudge(self, echo: Callable[[str], None], arguments: Mapping[str, Any]) -> dict[str, Any]:
        asked = RejudgeOptions.from_json({name: arguments[name] for name in arguments.keys() - {"requested_by"}})
        return rejudge(self._run_of(echo, arguments), asked)

    def _keep_small(self) -> None:
        for spec in TABLES:
            for step in (self._expire, self._compact):  # what has expired may be compacted
                if self._closing.is_set():
                    return
                try:
                    step(spec)
                except Exception as error:  # tried again in a few minutes; the metrics show when it never works
                    LOG.warning("%s is not kept small: %s", spec.identifier, root_cause(str(error)))

    def _compact(self, spec: TableSpec) -> None:
        then = self._files_then.get(spec.identifier, 0)
        self._files_then[spec.identifier] = compact_when_due(
            self._session, self._settings, spec, files_then=then, clock=self._clock
        )

    def _expire(self, spec: TableSpec) -> None:
        for alert in expire_when_due(self._session, self._settings, spec, self._clock).alerts:
            LOG.warning("%s: %s", spec.identifier, alert)
