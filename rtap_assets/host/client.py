"""The client of the stream host, for the command line and for Dagster: no Spark, no Dagster, every call with a deadline.

Starts nothing (`launcher.py` does) and never guesses: a host that does not answer makes every state UNKNOWN, unless no
process owns the checkpoints, in which case what lies on disk is the truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

import httpx2

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError, DependencyUnavailable, StreamError
from rtap_assets.host.description import HostDescription
from rtap_assets.host.offline_status import has_no_owner, offline_statuses, unknown_statuses
from rtap_assets.host.token import read_token
from rtap_assets.streaming.model.operation import Operation, OperationState
from rtap_assets.streaming.model.states import StreamStatus

POLL_SECONDS = 0.2
# Above this the machine is busy rather than the host away; a host that is frozen or gone shows well within a minute.
AWAY_SECONDS = 30.0


class StreamsClient:
    """Calls one stream host. `http` stands in for the network in tests."""

    def __init__(self, settings: Settings, *, http: httpx2.Client | None = None) -> None:
        self._settings = settings
        address = settings.streams_address
        # Without a proxy: a company's proxy in the environment does not know this machine's 127.0.0.1. Certificates are
        # loaded (26 ms of CPU, at each tick of a sensor) where there is one to verify.
        self._http = http or httpx2.Client(
            base_url=address,
            timeout=settings.streams_request_timeout_seconds,
            trust_env=False,
            verify=address.startswith("https:"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def host(self) -> HostDescription:
        """Return the host that answers.

        Raises:
            DependencyUnavailable: none does.
            ConfigurationError: the one that does belongs to another state folder, or the token cannot be used.
        """
        return HostDescription.from_json(self._call("GET", "/v1/host"))

    def statuses(self, *, now: datetime | None = None) -> list[StreamStatus]:
        """Return the state of every stream; never raises for a host that is away, frozen or late: UNKNOWN is an answer.

        Raises:
            ConfigurationError: the host belongs to another state folder, or the token cannot be used.
            StreamError: none answers, and the file of desired states cannot be read.
        """
        try:
            answer = self._call("GET", "/v1/streams")
            statuses = [StreamStatus.from_json(document) for document in answer["streams"]]
        except DependencyUnavailable as error:
            return self._without_host(error, now=now or datetime.now(UTC))
        now = now or datetime.now(UTC)
        return [
            status if status.is_valid_at(now) else status.as_unknown(reason=_stale(status), now=now) for status in statuses
        ]

    def status(self, stream: str) -> StreamStatus:
        """Return the state of one stream."""
        return next(status for status in self.statuses() if status.name == stream)

    def submit(self, stream: str, action: str) -> Operation:
        """Set what is desired of a stream; return at once, `wait` follows it.

        Raises:
            DependencyUnavailable: no host answers, or it is about to end.
            StreamError: the host refuses; the message says why.
        """
        return Operation.from_json(self._call("POST", f"/v1/streams/{stream}/{action}"))

    def submit_for_tables(self, action: str, arguments: Mapping[str, Any] | None = None) -> Operation:
        """Ask for one of `TABLE_ACTIONS`; return at once, `wait` follows it. Raises like `submit`."""
        return Operation.from_json(self._call("POST", f"/v1/tables/{action}", arguments))

    def operation(self, operation_id: str) -> Operation:
        """Return how an operation goes; raises StreamError when the host does not know it (it was restarted since)."""
        return Operation.from_json(self._call("GET", f"/v1/operations/{operation_id}"))

    def wait(
        self, operation: Operation, *, echo: Callable[[str], None] = lambda _: None, seconds: float | None = None
    ) -> Operation:
        """Follow an operation to its end, showing each new step. Return it when it succeeded.

        Raises:
            StreamError: it failed (with its cause and remedy), was cancelled, or took longer than `seconds`.
            DependencyUnavailable: the host went away meanwhile.
        """
        started, shown, answered = time.monotonic(), 0, time.monotonic()
        while True:
            for step in operation.steps[shown:]:
                echo(step.text)
            shown = len(operation.steps)
            if operation.ended:
                return _succeeded(operation)
            if seconds is not None and time.monotonic() - started > seconds:
                raise StreamError(
                    f"{operation.action} of {operation.stream} has not ended after {seconds:g} s.",
                    remedy="It goes on; see `rtap streams status`.",
                    operation=operation.id,
                )
            time.sleep(POLL_SECONDS)
            try:
                operation, answered = self.operation(operation.id), time.monotonic()
            except DependencyUnavailable as error:
                if time.monotonic() - answered > AWAY_SECONDS or is_port_closed(error):
                    raise _went_away(operation, error) from error

    def cancel(self, operation_id: str) -> Operation:
        """Give an operation up."""
        return Operation.from_json(self._call("POST", f"/v1/operations/{operation_id}/cancel"))

    def progress(self, stream: str, *, limit: int = 20) -> list[dict[str, Any]]:
        """Return the newest micro-batches of a stream."""
        batches: list[dict[str, Any]] = self._call("GET", f"/v1/streams/{stream}/progress?limit={limit}")["batches"]
        return batches

    def shutdown(self) -> None:
        """Ask the host to end; it drains first, and what is desired stays."""
        self._call("POST", "/v1/host/shutdown")

    def _call(self, method: str, path: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {read_token(self._settings)}"}
        try:
            body = None if arguments is None else dict(arguments)
            response = self._http.request(method, path, headers=headers, json=body)
            document: dict[str, Any] = response.json()
        except (httpx2.TransportError, ValueError) as error:
            raise self._away(error) from error
        if response.is_success:
            return document
        raise self._refused(response.status_code, document.get("error", {}))

    def _away(self, error: Exception) -> DependencyUnavailable:
        frozen = isinstance(error, httpx2.TimeoutException)
        how = f"does not answer within {self._settings.streams_request_timeout_seconds:g} s" if frozen else "is not there"
        return DependencyUnavailable(
            f"The stream host at {self._settings.streams_address} {how} ({type(error).__name__}).",
            remedy="`rtap streams start` starts it, `rtap streams logs` shows its last words."
            if self._settings.uses_embedded_host
            else "Check RTAP_STREAMS_URL and that the host is up.",
            dependency="stream host",
            listens=not isinstance(error, httpx2.ConnectError),
        )

    def _refused(self, status: int, error: Mapping[str, str]) -> ConfigurationError | DependencyUnavailable | StreamError:
        message, remedy = error.get("message", f"HTTP {status}"), error.get("remedy", "")
        if status == 401:
            return ConfigurationError(
                f"The stream host at {self._settings.streams_address} does not take the token of "
                f"{self._settings.state_dir}: it belongs to another state folder.",
                remedy="Set RTAP_STREAMS_PORT to a free port, or RTAP_STATE_DIR to that host's folder.",
            )
        if status in (403, 421):
            return ConfigurationError(f"The stream host refuses: {message}", remedy=remedy)
        if status == 503:
            return DependencyUnavailable(message, remedy=remedy, dependency="stream host", listens=True)
        return StreamError(message, remedy=remedy, status=status)

    def _without_host(self, error: DependencyUnavailable, *, now: datetime) -> list[StreamStatus]:
        if self._settings.uses_embedded_host and has_no_owner(self._settings):
            return offline_statuses(self._settings, now=now)
        owned = "" if not self._settings.uses_embedded_host else " Its JVM still owns the checkpoints."
        return unknown_statuses(self._settings, reason=f"{error.message}{owned}", now=now)


def is_port_closed(error: DependencyUnavailable) -> bool:
    """Return whether the port is closed: a host that starts, is busy or frozen still accepts connections."""
    return not error.context.get("listens", True)


def _stale(status: StreamStatus) -> str:
    return f"The stream host answers, but looked at {status.name} last at {status.observed_at:%Y-%m-%d %H:%M:%S}Z."


def _succeeded(operation: Operation) -> Operation:
    if operation.state is OperationState.SUCCEEDED:
        return operation
    error = operation.error
    if operation.state is OperationState.CANCELLED:
        raise StreamError(f"{operation.action} of {operation.stream} was cancelled.", operation=operation.id)
    raise StreamError(
        error.message if error else f"{operation.action} of {operation.stream} failed.",
        remedy=error.remedy if error else "See `rtap streams logs`.",
        stream=operation.stream,
        operation=operation.id,
    )


def _went_away(operation: Operation, error: DependencyUnavailable) -> DependencyUnavailable:
    return DependencyUnavailable(
        f"The stream host went away during {operation.action} of {operation.stream}: {error.message}",
        remedy="What is desired was kept; the next host goes on from there. Run the command again.",
        dependency="stream host",
        operation=operation.id,
    )
