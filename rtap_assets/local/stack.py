"""The embedded stack as a whole: `up`, `down` and `reset` over its services.

Composition only. With an external broker or registry configured, nothing is started in its place; topics and schemas are
made sure of all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rtap_assets.config import Settings
from rtap_assets.errors import LocalStackError
from rtap_assets.kafka.patience import with_patience
from rtap_assets.local.lock import stack_lock
from rtap_assets.local.pid_files import ProcessRecord, forget, record_of, records
from rtap_assets.local.ports import require_free_ports
from rtap_assets.local.processes import Service, died, start, stop, wait_ready
from rtap_assets.local.state import claim_state_dir, remove_state_dir, require_state_dir
from rtap_assets.local.status import status

Echo = Callable[[str], None]

# Those who depend on others end first; a service that is not named here (it left its own record) ends before all of these.
STOP_ORDER = (
    "keeper",  # or it would start the others again
    "generator",
    "dashboard",
    "dagster-daemon",
    "dagster-webserver",
    "dagster-code-server",
    "stream-host",
    "registry",
    "kafka",
)


def up(
    settings: Settings, *, ui: bool = False, streams: bool = False, rate: float | None = None, echo: Echo = print
) -> None:
    """Start what is not running yet, wait until it answers, and make sure of topics and schemas.

    A second call adopts what runs. When it fails or is interrupted, what it started is ended again. The UI and the stream
    host come after what they read, and last a generator of `rate` records a second.

    Raises:
        LocalStackError: a port is taken, or a process died or did not answer; the message holds the tail of its log. Or a
            generator of another rate runs.
        DependencyUnavailable, ContractError: from the topics and the schemas.
    """
    claim_state_dir(settings)
    with stack_lock(settings, echo=echo):
        generators = generators_to_run(settings, rate=rate)
        with _all_or_nothing(settings, echo=echo):
            sources = services_to_run(settings, ui=False)
            _start_services(settings, sources, echo=echo)
            _ensure_topics_and_contracts(settings, echo=echo)
            # After the topics: the sensors look at them as soon as the daemon lives.
            _start_services(settings, services_to_run(settings, ui=ui)[len(sources) :], echo=echo)
            if streams:
                _ensure_stream_host(settings, echo=echo)
            _start_services(settings, generators, echo=echo)
            if settings.keep_parts:
                _start_services(settings, [_keeper(settings)], echo=echo)


def down(settings: Settings, echo: Echo = print) -> None:
    """End everything that has a record, in order; records of processes that are gone are cleared.

    Raises:
        LocalStackError: a process could not be ended; the others were.
    """
    if not settings.run_dir.exists():
        echo("nothing is running")
        return
    with stack_lock(settings, echo=echo):
        found = sorted(records(settings), key=_stop_rank)
        if not found:
            echo("nothing is running")
        failures = [failure for record in found if (failure := _stop_and_forget(settings, record, echo=echo))]
    if failures:
        raise LocalStackError(
            " ".join(failure.message for failure in failures), remedy=" ".join(failure.remedy for failure in failures)
        )


def reset(settings: Settings, *, echo: Echo = print) -> None:
    """Remove the state folder.

    Raises:
        LocalStackError: something still runs, or the folder does not look like a state folder.
    """
    if not settings.state_dir.exists():
        echo(f"nothing to remove: {settings.state_dir} does not exist")
        return
    require_state_dir(settings)  # before the lock, which leaves a file in the folder
    with stack_lock(settings, echo=echo):
        running = [line.title for line in status(settings) if line.state == "running"]
        if running:
            raise LocalStackError(f"Still running: {', '.join(running)}.", remedy="Run `rtap down` first.")
        remove_state_dir(settings)
    echo(f"removed {settings.state_dir}")


def services_to_run(settings: Settings, *, ui: bool) -> list[Service]:
    """Return what `up` makes sure of, in starting order: broker and registry, then the dashboard and Dagster's UI.

    The registry needs no preparation, so it comes up while the broker's data are being formatted.
    """
    # Imported when something is to be started: what they need takes a second to import, and `rtap status` needs none of it.
    from rtap_assets.local.dagster_ui import ui_services  # noqa: PLC0415
    from rtap_assets.local.services.broker import broker_service  # noqa: PLC0415
    from rtap_assets.local.services.dashboard import dashboard_service  # noqa: PLC0415
    from rtap_assets.local.services.schema_registry import registry_service  # noqa: PLC0415

    registry = [registry_service(settings)] if settings.uses_embedded_registry else []
    broker = [broker_service(settings)] if settings.uses_embedded_broker else []
    return [*registry, *broker, *([dashboard_service(settings), *ui_services(settings)] if ui else [])]


def generators_to_run(settings: Settings, *, rate: float | None) -> list[Service]:
    """Return the steady generator, when one is asked for.

    Raises:
        LocalStackError: one runs at another rate.
    """
    from rtap_assets.local.services.generator import generator_service  # noqa: PLC0415

    if rate is None:
        return []
    service = generator_service(settings, rate=rate)
    record = record_of(settings, service.name)
    if record is not None and record.process() is not None and record.command != service.command:
        raise LocalStackError(
            f"A generator of {record.command[-1]} records a second runs (pid {record.pid}), not one of {rate:g}.",
            remedy=f"End it with `kill {record.pid}`, or everything with `rtap down`, and try again.",
        )
    return [service]


def _keeper(settings: Settings) -> Service:
    from rtap_assets.local.keeper import keeper_service  # noqa: PLC0415

    return keeper_service(settings)


def _start_services(settings: Settings, services: list[Service], *, echo: Echo) -> None:
    adopted = {service.name: record for service in services if (record := _adopt(settings, service))}
    missing = [service for service in services if service.name not in adopted]
    require_free_ports({setting: port for service in missing for setting, port in service.ports.items()})
    started: dict[str, ProcessRecord] = {}
    began = time.monotonic()
    for service in missing:
        if (first := service.starts_after) is not None:
            wait_ready(first, (adopted | started)[first.name], seconds=settings.startup_timeout_seconds)
        started[service.name] = start(settings, service)
    for service in services:
        record = (adopted | started)[service.name]
        wait_ready(service, record, seconds=settings.startup_timeout_seconds)
        took = time.monotonic() - began if service.name in started else None
        echo(_line(service.title, service.address, record.pid, took=took))
    for record in started.values():
        if record.process() is None:
            raise died(record, when="right after its start")


@contextmanager
def _all_or_nothing(settings: Settings, *, echo: Echo) -> Iterator[None]:
    """End what was started in the block when it is left early: a half-started stack is of no use."""
    before = {record.pid for record in records(settings)}
    try:
        yield
    except BaseException:  # Ctrl-C too
        fresh = [record for record in sorted(records(settings), key=_stop_rank) if record.pid not in before]
        if fresh:
            echo("not everything started; ending what did")
        for record in fresh:
            if failure := _stop_and_forget(settings, record, echo=echo):
                echo(f"{failure.message} {failure.remedy}")
        raise


def _adopt(settings: Settings, service: Service) -> ProcessRecord | None:
    """Return the record of the running process of this service, if there is one."""
    record = record_of(settings, service.name)
    if record is None or record.process() is None:
        return None
    if record.address != service.address:
        raise LocalStackError(
            f"The {service.title} runs at {record.address} (pid {record.pid}), but {next(iter(service.ports))} asks for "
            f"{service.address}.",
            remedy="Run `rtap down` first, or set the port back.",
        )
    return record


def _ensure_topics_and_contracts(settings: Settings, *, echo: Echo) -> None:
    from rtap_assets.kafka.topics import EXISTS, ensure_topics  # noqa: PLC0415
    from rtap_assets.registry.registration import register_contracts  # noqa: PLC0415

    patience = settings.dependency_patience_seconds
    if not settings.uses_embedded_broker or not settings.uses_embedded_registry:
        echo(f"asking the broker at {settings.bootstrap_servers} and the registry")
    topics = with_patience(lambda: ensure_topics(settings), what="ensuring the topics", seconds=patience)
    for topic, outcome in topics.items():
        if outcome != EXISTS:
            echo(f"topic {topic} {outcome}{' (left as it is)' if outcome.startswith('differs') else ''}")
    subjects = with_patience(lambda: register_contracts(settings), what="registering the schemas", seconds=patience)
    for subject, ids in subjects.items():
        echo(f"schemas {subject} " + ", ".join(f"v{version} = id {schema_id}" for version, schema_id in ids.items()))


def _ensure_stream_host(settings: Settings, *, echo: Echo) -> None:
    from rtap_assets.host.launcher import ensure_host  # noqa: PLC0415
    from rtap_assets.host.lock import running_host  # noqa: PLC0415
    from rtap_assets.local.services.stream_host import TITLE  # noqa: PLC0415

    began = time.monotonic()
    is_there = not settings.uses_embedded_host or running_host(settings) is not None
    if not is_there:
        echo("starting the stream host")  # Spark takes its time
    host = ensure_host(settings)
    took = None if is_there else time.monotonic() - began
    echo(_line(TITLE, settings.streams_address.partition("://")[2], host.pid, took=took))


def _line(title: str, address: str, pid: int, *, took: float | None) -> str:
    """Return the line that `up` prints for a service that answers; `took` is None for one that ran before."""
    how, seconds = ("adopted", "") if took is None else ("started", f"  ({took:.1f} s)")
    return f"{title:<18} {how}  {address or '-':<15}  pid {pid}{seconds}"


def _stop_and_forget(settings: Settings, record: ProcessRecord, *, echo: Echo) -> LocalStackError | None:
    try:
        how = stop(record)
    except LocalStackError as error:
        return error
    forget(settings, record)
    echo(f"{record.title:<18} {how}")
    return None


def _stop_rank(record: ProcessRecord) -> int:
    return STOP_ORDER.index(record.service) if record.service in STOP_ORDER else -1
