"""The Dagster instance that sensors read, opened once in a process."""

from threading import Lock

import dagster as dg
from dagster._core.instance.ref import InstanceRef

_opening = Lock()
_opened: list[tuple[InstanceRef, dg.DagsterInstance]] = []


def instance_of(context: dg.SensorEvaluationContext) -> dg.DagsterInstance:
    """Return the instance of a tick.

    `context.instance` opens another one for each tick, and with it three storages whose schemas are compared with the
    migrations of Dagster: a quarter of what an idle code server cost.
    """
    ref = context.instance_ref
    if ref is None:  # given to the context as it is
        return context.instance
    with _opening:
        if not _opened or _opened[0][0] != ref:
            _opened[:] = [(ref, dg.DagsterInstance.from_ref(ref))]
        return _opened[0][1]
