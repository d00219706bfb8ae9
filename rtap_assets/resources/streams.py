"""The stream host as a Dagster resource: runs and sensors reach the streams through it alone.

It holds no state. A command is short: it makes sure that a host is there, changes what is desired, waits for proof, ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field

from rtap_assets.config import get_settings, settings_environment
from rtap_assets.contracts.selection import Selection
from rtap_assets.errors import StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.following import carry_out
from rtap_assets.host.launcher import HOST_COMMAND, ensure_host, host_output
from rtap_assets.host.lock import running_host
from rtap_assets.runtime.background import spawn_background
from rtap_assets.streaming.model.operation import Action, Operation
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.model.states import StreamStatus

Echo = Callable[[str], None]


class StreamHost(ConfigurableResource):  # type: ignore[type-arg]
    """Asks the stream host of the platform's settings; starts it where it is embedded and away."""

    may_start_host: bool = Field(default=True, description="Start the embedded stream host where none runs.")

    def client(self) -> StreamsClient:
        """A client of the host; asks nothing yet."""
        return StreamsClient(get_settings())

    def ensure(self, echo: Echo) -> None:
        """Adopt the host or start it, and wait until it answers; an external one is only asked."""
        if self.may_start_host:
            ensure_host(get_settings(), echo=echo)

    def begin(self) -> bool:
        """Start the host when it is embedded and no process of it lives. Waits for nothing; says whether it started one."""
        settings = get_settings()
        if not self.may_start_host or not settings.uses_embedded_host or running_host(settings) is not None:
            return False
        spawn_background(HOST_COMMAND, output=host_output(settings), environment=settings_environment(settings))
        return True

    def statuses(self) -> list[StreamStatus]:
        """The state of each stream; UNKNOWN with the reason when the host does not answer."""
        with self.client() as client:
            return client.statuses()

    def command(self, action: Action, names: Sequence[str], *, echo: Echo) -> Iterator[Operation]:
        """Ask the same of several streams and yield each operation once it has its proof; steps go to `echo`.

        Raises:
            StreamError: at least one did not get there; the others did. Causes and next steps of all.
        """
        self.ensure(echo)
        with self.client() as client:
            yield from carry_out(client, action, names, echo=_prefixed(echo), cancels=True)

    def drain(self, name: str, *, echo: Echo) -> DrainReport:
        """Make one layer complete up to now, by its running query or by a run of its own that ends.

        Raises:
            StreamError: it did not get there; with cause and next step.
        """
        (operation,) = self.command(Action.DRAIN, [name], echo=echo)
        if operation.result is None:
            raise StreamError(f"The drain of {name} ended without a report.", remedy="See the log of the stream host.")
        return DrainReport.from_json(operation.result)

    def maintain(self, *, echo: Echo) -> dict[str, Any]:
        """Maintain all tables inside the host and wait for it; returns the report, see `streaming.maintenance`.

        Raises:
            StreamError: it did not get through; with cause and next step.
        """
        self.ensure(echo)
        with self.client() as client:
            return client.wait(client.submit_for_tables(Action.MAINTAIN), echo=echo).result or {}

    def correct(self, *, requested_by: str, echo: Echo) -> dict[str, Any]:
        """Add late rows, remove later copies and subtract these from gold; returns the report, see `corrections.api`.

        Raises:
            StreamError: it did not get through; with cause and next step.
        """
        return self._table_work(Action.CORRECT, {"requested_by": requested_by}, echo=echo)

    def erase(self, account_id: str, *, requested_by: str, dry_run: bool, echo: Echo) -> dict[str, Any]:
        """Erase an account from bronze and silver; returns the report, see `corrections.erase`.

        Raises:
            StreamError: it did not get through; with cause and next step.
        """
        arguments = {"account_id": account_id, "requested_by": requested_by, "dry_run": dry_run}
        return self._table_work(Action.ERASE, arguments, echo=echo)

    def _table_work(self, action: Action, arguments: dict[str, Any], *, echo: Echo) -> dict[str, Any]:
        self.ensure(echo)
        with self.client() as client:
            return client.wait(client.submit_for_tables(action, arguments), echo=echo).result or {}

    def rejudge(self, selection: Selection, *, apply: bool, requested_by: str, echo: Echo) -> dict[str, Any]:
        """Judge quarantined rows again inside the host, and bring gold up to date; returns `streaming.rejudge`'s report.

        Raises:
            StreamError: it did not get through; with cause and next step.
        """
        asked = {"selection": selection.to_json(), "apply": apply, "requested_by": requested_by}
        report = self._table_work(Action.REJUDGE, asked, echo=echo)
        if report["added"]:
            self.drain("gold", echo=echo)
        return report


def _prefixed(echo: Echo) -> Callable[[str, str], None]:
    return lambda name, text: echo(text if text.startswith(f"{name}:") else f"{name}: {text}")
