"""Work on the tables: maintenance, corrections, erasure, new verdicts, rebuild; for the command line and for Dagster.

`table_work` alone decides where it runs: in the stream host where there is one, since it owns the checkpoints and its
session is warm; else in a Spark session of the caller, which owns the checkpoints until the work has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.launcher import end_host
from rtap_assets.host.lock import running_host
from rtap_assets.streaming.checkpoints.layers import open_layers
from rtap_assets.streaming.checkpoints.ownership import refuse_a_living_owner
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.model.states import Desired, Observed
from rtap_assets.streaming.operations.corrections.api import correct, finish
from rtap_assets.streaming.operations.corrections.erase import erase_account
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.operations.maintenance import maintain_tables
from rtap_assets.streaming.operations.rebuild import downstream_of, rebuild_layer
from rtap_assets.streaming.operations.rejudge import RejudgeOptions, rejudge
from rtap_assets.streaming.queries.definitions import GOLD_STREAM, STREAMS

Echo = Callable[[str], None]
AT_REST = frozenset({Observed.STOPPED, Observed.DIRTY})


class TableWork(Protocol):
    """The work, wherever it runs. Each method returns the report as JSON.

    Raises (every method):
        StreamError: it did not get through; the next run goes on with what was begun.
        DependencyUnavailable: broker, registry, catalog or host did not answer; likewise.
    """

    def maintain(self) -> dict[str, Any]:
        """Maintain all tables; see `operations.maintenance`."""

    def correct(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Add late rows, remove later copies and bring gold up to date; see `operations.corrections.api`."""

    def erase(self, account_id: str, *, dry_run: bool) -> dict[str, Any]:
        """Erase an account from bronze and silver; see `operations.corrections.erase`."""

    def rejudge(self, options: RejudgeOptions) -> dict[str, Any]:
        """Judge quarantined rows again and bring gold up to date; see `operations.rejudge`."""


@contextmanager
def table_work(
    settings: Settings,
    *,
    client: StreamsClient | None,
    session: Callable[[], SparkSession],
    requested_by: str,
    echo: Echo,
) -> Iterator[TableWork]:
    """Open the work: in the host behind `client`, or in `session()`, which is started for it, where there is none.

    `client` is that of `client_of_host`, or a fake one. It is closed with the block.

    Raises:
        StreamError: without a host, another process owns the checkpoints.
    """
    if client is not None:
        with client:
            yield _InHost(client, requested_by, echo)
        return
    refuse_a_living_owner(settings)
    with open_layers(session(), settings) as opened:
        yield _InSession(opened, settings, requested_by, echo)


def client_of_host(settings: Settings) -> StreamsClient | None:
    """Return a client of the stream host, or None where no process of an embedded one lives.

    An external host always has the work: its checkpoints need not be on this machine.
    """
    if settings.uses_embedded_host and running_host(settings) is None:
        return None
    return StreamsClient(settings)


def rebuild(
    settings: Settings, layer: str, *, client: StreamsClient, session: Callable[[], SparkSession], echo: Echo
) -> list[DrainReport]:
    """Drop a layer and those below it, and build them from the layer above, in `session()`; return one report for each.

    An embedded host whose streams are stopped hands the checkpoints over: it is ended first. `client` is closed.

    Raises:
        StreamError: streams run, the host is an external one that answers, another process owns the checkpoints, or a
            stream failed; repeat the rebuild then.
    """
    with client:
        _take_over_checkpoints(client, settings, echo)
    refuse_a_living_owner(settings)
    doomed = [stream.writes for stream in downstream_of(STREAMS[layer]) if stream.writes is not None]
    with open_layers(session(), settings, doomed=doomed) as opened:
        return rebuild_layer(opened, settings, layer, echo=echo)


@dataclass(frozen=True)
class _InHost:
    client: StreamsClient
    requested_by: str
    echo: Echo

    def maintain(self) -> dict[str, Any]:
        return self._done(Action.MAINTAIN, {})

    def correct(self, *, dry_run: bool = False) -> dict[str, Any]:
        asked = {"dry_run": dry_run}
        self._drain_gold()
        report = self._done(Action.CORRECT, asked)
        if report.get("pending") and not dry_run:  # gold is stopped: it reads what was added, and the correction ends
            self._drain_gold()
            report["pending"] = self._done(Action.CORRECT, asked).get("pending", 0)
        return report

    def erase(self, account_id: str, *, dry_run: bool) -> dict[str, Any]:
        return self._done(Action.ERASE, {"account_id": account_id, "dry_run": dry_run})

    def rejudge(self, options: RejudgeOptions) -> dict[str, Any]:
        report = self._done(Action.REJUDGE, options.to_json())
        if report["added"]:
            self._drain_gold()
        return report

    def _drain_gold(self) -> None:
        self.client.wait(self.client.submit(GOLD_STREAM.name, Action.DRAIN), echo=self.echo)

    def _done(self, action: Action, arguments: Mapping[str, Any]) -> dict[str, Any]:
        asked = self.client.submit_for_tables(action, {**arguments, "requested_by": self.requested_by})
        return self.client.wait(asked, echo=self.echo).result or {}


@dataclass(frozen=True)
class _InSession:
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
            if stream.reads is not None and not dry_run:
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


def _take_over_checkpoints(client: StreamsClient, settings: Settings, echo: Echo) -> None:
    if not settings.uses_embedded_host:
        _refuse_external_host(client, settings)
    elif running_host(settings) is not None:
        running = [one.name for one in client.statuses() if one.desired is Desired.RUNNING or one.observed not in AT_REST]
        if running:
            raise StreamError(
                f"The stream host owns the checkpoints and runs {', '.join(running)}.",
                remedy="Stop the streams (`rtap streams stop`, or the job stop_streams), then rebuild again.",
            )
        end_host(client, settings, echo=echo)


def _refuse_external_host(client: StreamsClient, settings: Settings) -> None:
    """Refuse where it answers; else the lock on the checkpoints says whether something still owns them."""
    try:
        client.host()
    except DependencyUnavailable:
        return
    raise StreamError(
        f"The stream host at {settings.streams_address} owns the checkpoints, and is an external one.",
        remedy="End it where it runs, then rebuild again.",
    )
