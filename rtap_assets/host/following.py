"""Carry out a command on several streams and follow each to its proof or failure: for the command line and for Dagster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rtap_assets.errors import DependencyUnavailable, RtapError, StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.streaming.model.operation import Action, Operation

Echo = Callable[[str, str], None]  # stream, text


def carry_out(
    client: StreamsClient, action: Action, names: Sequence[str], *, echo: Echo, cancels: bool = False
) -> Iterator[Operation]:
    """Ask the same of several streams, and yield each operation that succeeded; steps go to `echo`.

    All are asked at once, and followed even when one fails; drains follow one another, since what a layer must read to is
    where the one before it ends. With `cancels`, leaving early (a run that is terminated) cancels what has not ended.

    Raises:
        StreamError: at least one did not get there; with the causes and next steps of all.
    """
    for asked in [[name] for name in names] if action is Action.DRAIN else [list(names)]:
        yield from _carry_out_together(client, action, asked, echo=echo, cancels=cancels)


def _carry_out_together(
    client: StreamsClient, action: Action, names: Sequence[str], *, echo: Echo, cancels: bool
) -> list[Operation]:
    failures: list[tuple[str, RtapError]] = []
    ended: list[Operation] = []
    with _cancelled_when_left(client, echo, cancels=cancels) as pending:
        for name in names:
            pending.append(client.submit(name, action))
        for operation in list(pending):
            try:
                ended.append(client.wait(operation, echo=partial(echo, operation.stream)))
            except (StreamError, DependencyUnavailable) as error:
                failures.append((operation.stream, error))
            pending.remove(operation)
    if failures:
        raise _joined(action, failures)
    return ended


@contextmanager
def _cancelled_when_left(client: StreamsClient, echo: Echo, *, cancels: bool) -> Iterator[list[Operation]]:
    """Cancel the operations that were put into the list and not taken out, when the block is left early.

    Dagster's termination of a run is a BaseException. The host ends a cancelled operation in a state that it can prove.
    """
    pending: list[Operation] = []
    try:
        yield pending
    except BaseException:
        for operation in reversed(pending) if cancels else ():
            try:
                echo(operation.stream, f"{operation.action} {client.cancel(operation.id).state}")
            except RtapError as error:
                echo(operation.stream, f"{operation.action} could not be cancelled, the host ends it by itself: {error}")
        raise


def _joined(action: Action, failures: Sequence[tuple[str, RtapError]]) -> StreamError:
    """Return one error for all; the remedies once each."""
    causes = " ".join(f"{name}: {error.message}" for name, error in failures)
    remedies = dict.fromkeys(error.remedy for _, error in failures if error.remedy)
    what = "Not everything was done" if len(failures) > 1 else f"The {action} did not end as asked"
    return StreamError(f"{what}. {causes}", remedy=" ".join(remedies), streams=[name for name, _ in failures])
