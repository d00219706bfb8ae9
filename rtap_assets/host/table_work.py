"""Work on the tables: maintenance, corrections, erasure, new verdicts, rebuild; for the command line and for Dagster.

`table_work` alone decides where it runs: in the stream host where there is one, since it owns the checkpoints and its
session is warm; else in a Spark session of the caller, which owns the checkpoints until the work has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import stream_filling
from rtap_assets.contracts.tables import GOLD
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.launcher import end_host
from rtap_assets.host.lock import running_host
from rtap_assets.streaming.model.operation import Action
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.model.states import Desired, Observed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from rtap_assets.streaming.operations.rejudge import RejudgeOptions

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
    # Imported where no host does the work: Dagster's definitions load this module, and need no Spark.
    from rtap_assets.streaming.checkpoints.layers import open_layers  # noqa: PLC0415
    from rtap_assets.streaming.checkpoints.ownership import refuse_a_living_owner  # noqa: PLC0415
    from rtap_assets.streaming.operations.session_work import SessionWork  # noqa: PLC0415

    refuse_a_living_owner(settings)
    with open_layers(session(), settings) as opened:
        yield SessionWork(opened, settings, requested_by, echo)


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
    # Imported when called, as in `table_work`.
    from rtap_assets.streaming.checkpoints.layers import open_layers  # noqa: PLC0415
    from rtap_assets.streaming.checkpoints.ownership import refuse_a_living_owner  # noqa: PLC0415
    from rtap_assets.streaming.operations.rebuild import downstream_of, rebuild_layer  # noqa: PLC0415
    from rtap_assets.streaming.queries.definitions import STREAMS  # noqa: PLC0415

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
        self.client.wait(self.client.submit(stream_filling(GOLD).name, Action.DRAIN), echo=self.echo)

    def _done(self, action: Action, arguments: Mapping[str, Any]) -> dict[str, Any]:
        asked = self.client.submit_for_tables(action, {**arguments, "requested_by": self.requested_by})
        return self.client.wait(asked, echo=self.echo).result or {}


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
