"""The stream host as a Dagster resource: runs and sensors reach the streams through it alone.

It holds no state. A command is short: it makes sure that a host is there, changes what is desired, waits for proof, ends.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field

from rtap_assets.config import Settings, settings_environment
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.following import carry_out
from rtap_assets.host.launcher import HOST_COMMAND, ensure_host, host_output
from rtap_assets.host.lock import running_host
from rtap_assets.host.table_work import TableWork, client_of_host, table_work
from rtap_assets.runtime.background import spawn_background
from rtap_assets.streaming.model.operation import Action, Operation
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.model.states import Desired, StreamStatus

Echo = Callable[[str], None]
CONNECT_SECONDS = 1.0


class StreamHost(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Asks the stream host of these settings; starts it where it is embedded and away."""

    settings: dg.ResourceDependency[Settings]
    may_start_host: bool = Field(default=True, description="Start the embedded stream host where none runs.")

    def client(self) -> StreamsClient:
        """Return a client of the host; it connects at its first call."""
        return StreamsClient(self.settings)

    def ensure(self, echo: Echo) -> None:
        """Adopt the host or start it, and wait until it answers; an external one is only asked."""
        if self.may_start_host:
            ensure_host(self.settings, echo=echo)

    def begin(self) -> bool:
        """Start the host when it is embedded and no process of it lives; return whether it did. Does not wait."""
        settings = self.settings
        if not self.may_start_host or not settings.uses_embedded_host or running_host(settings) is not None:
            return False
        spawn_background(HOST_COMMAND, output=host_output(settings), environment=settings_environment(settings))
        return True

    def statuses(self) -> list[StreamStatus]:
        """Return the state of each stream; UNKNOWN with the reason when the host does not answer."""
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
        self._require_something_up()
        (operation,) = self.command(Action.DRAIN, [name], echo=echo)
        if operation.result is None:
            raise StreamError(f"The drain of {name} ended without a report.", remedy="See the log of the stream host.")
        return DrainReport.from_json(operation.result)

    def _require_something_up(self) -> None:
        """Fail at once where nothing of the stack runs; a host would be started in vain, and would wait for the broker.

        Raises:
            DependencyUnavailable: no host runs and the embedded broker does not listen.
        """
        settings = self.settings
        if not (settings.uses_embedded_broker and settings.uses_embedded_host) or running_host(settings) is not None:
            return
        with socket.socket() as probe:
            probe.settimeout(CONNECT_SECONDS)
            if probe.connect_ex(("127.0.0.1", settings.kafka_port)) == 0:
                return
        raise DependencyUnavailable(
            f"Neither the stream host nor the Kafka broker at {settings.bootstrap_servers} runs.",
            remedy="Start them: `rtap up`.",
            dependency="broker",
        )

    def table_work(self, spark: LazyPySparkResource, *, requested_by: str, echo: Echo) -> AbstractContextManager[TableWork]:
        """Open work on the tables: in the host, or in the session of `spark` while no stream is to run and no host does.

        Raises:
            StreamError: without a host, another process owns the checkpoints.
        """
        return table_work(
            self.settings,
            client=self.client_in_charge(echo),
            session=lambda: spark.spark_session,
            requested_by=requested_by,
            echo=echo,
        )

    def client_in_charge(self, echo: Echo) -> StreamsClient | None:
        """Return a client of the host, or None where a run may own the checkpoints.

        A host that is away while streams are desired is started: the supervisor would start it in the middle of the work.
        """
        if any(status.desired is Desired.RUNNING for status in self.statuses()):
            self.ensure(echo)
        return client_of_host(self.settings)


def _prefixed(echo: Echo) -> Callable[[str, str], None]:
    return lambda name, text: echo(text if text.startswith(f"{name}:") else f"{name}: {text}")
