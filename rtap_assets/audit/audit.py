"""The audit as a whole: look, read, compare; and look again where a living system moved between two of the layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb
from pyiceberg.exceptions import NoSuchTableError

from rtap_assets.audit.compare import compare_bronze, compare_gold, compare_silver
from rtap_assets.audit.gaps import load_corrections, load_gaps
from rtap_assets.audit.judging import Judge
from rtap_assets.audit.lateness import load_watermarks
from rtap_assets.audit.ledger import compare_ledger, has_ledger
from rtap_assets.audit.report import Report, Section
from rtap_assets.audit.schemas import WriterSchemas
from rtap_assets.audit.state import LakeState, look
from rtap_assets.audit.topic import Progress, find_ranges, read_records, read_rows_without_record
from rtap_assets.audit.workspace import load_lake, one, open_workspace
from rtap_assets.config import Settings
from rtap_assets.errors import ServingError

# Between two of the layers a correction may be under way; what is still so after the system has moved on is damage.
MOST_LOOKS = 3
PAUSE_SECONDS = 5.0

Extra = Callable[[duckdb.DuckDBPyConnection], Section]


def audit(
    settings: Settings, *, progress: Progress = lambda _what, _done, _all: None, extra: tuple[Extra, ...] = ()
) -> Report:
    """Compare topic, bronze, silver, gold and, where there is one, the generator's ledger; changes nothing.

    Each of `extra` is asked for one more section on the same loaded state.

    Raises:
        DependencyUnavailable: broker, registry or catalog did not answer.
        ServingError: the lake cannot be read, or the audit has no room to work in.
        StreamError: a checkpoint cannot be read.
    """
    started = time.monotonic()
    with _translated(), open_workspace(settings) as connection:
        audited = _Audit(connection, settings, progress, extra)
        for attempt in range(1, MOST_LOOKS + 1):
            progress("choosing the snapshots to compare", 0, 0)
            state = look(settings)
            report = audited.report(state)
            if report.holds or attempt == MOST_LOOKS or not _has_moved(settings, state):
                break
    return Report(report.sections, report.compared, time.monotonic() - started)


class _Audit:
    """One audit's workspace; what was read of the topic serves every look."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, settings: Settings, progress: Progress, extra: tuple[Extra, ...]
    ) -> None:
        self._connection, self._settings, self._progress, self._extra = connection, settings, progress, extra
        self._judge: Judge | None = None

    def report(self, state: LakeState) -> Report:
        connection, settings = self._connection, self._settings
        self._progress("reading the tables", 0, 0)
        load_lake(connection, settings, state)
        load_gaps(connection, settings)
        load_corrections(connection, settings)
        load_watermarks(connection, settings, state)
        has_read = bool(state.ends) or one(connection, "SELECT count(*) AS n FROM bronze_rows")["n"] > 0
        if has_read:
            self._read_records(state)
        sections = []
        for what, compare in (
            ("comparing topic and bronze", compare_bronze),
            ("comparing bronze and silver", compare_silver),
            ("comparing silver and gold", compare_gold),
        ):
            self._progress(what, 0, 0)
            sections.append(compare(connection, state))
        if has_read and has_ledger(settings):
            self._progress("comparing with the generator's ledger", 0, 0)
            sections.append(compare_ledger(connection, settings))
        sections += [ask(connection) for ask in self._extra]
        return Report(tuple(sections), one(connection, "SELECT count(*) AS n FROM records")["n"])

    def _read_records(self, state: LakeState) -> None:
        """Broker and registry are asked only where there is something to compare."""
        connection, settings, progress = self._connection, self._settings, self._progress
        self._judge = judge = self._judge or Judge(settings, WriterSchemas(settings).of)
        find_ranges(connection, settings, state)

        def keep() -> None:
            state.keep(settings)

        read_records(connection, settings, judge, keep=keep, progress=progress)
        read_rows_without_record(connection, judge, topic=settings.topic_events, keep=keep, progress=progress)


def _has_moved(settings: Settings, state: LakeState) -> bool:
    """Whether a table has another snapshot by now; waits a little for it."""
    deadline = time.monotonic() + PAUSE_SECONDS
    while True:
        if look(settings).snapshots != state.snapshots:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_SECONDS / 10)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise ServingError(
            f"The audit ran out of memory or disk: {_first_line(error)}.",
            remedy="Make room below the state folder, or raise RTAP_AUDIT_MEMORY_MB.",
        ) from error
    except (duckdb.Error, FileNotFoundError, NoSuchTableError) as error:
        raise ServingError(
            f"The audit could not read the lake: {_first_line(error)}.",
            remedy="Run `rtap reconcile` again: a snapshot may have expired meanwhile. If it stays, check the disk.",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
