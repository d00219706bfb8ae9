"""A redrive from selected dead letters to sent records: repaired, judged as the platform will judge them, sent in parts."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from uuid import uuid4

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.writer_schemas import AVRO, RegisteredSchema
from rtap_assets.contracts.dead_letters import DeadLetter, SchemaOf
from rtap_assets.contracts.redrive_plan import Outcome, Planned, Tally, plan_redrive, with_verdicts
from rtap_assets.contracts.repairs import find_repair
from rtap_assets.contracts.selection import Selection
from rtap_assets.kafka.redrives import Outgoing, Redriver, Run, ledger_key, redrive_headers, sent_before
from rtap_assets.registry.client import Registry
from rtap_assets.runtime.clock import utc_now

PART = 500

# The reasons for which the records would be quarantined, in their order; None for a valid one.
Judge = Callable[[Sequence[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]]], list[str | None]]


@dataclass(frozen=True)
class RedriveRequest:
    """What is asked for. Units: `rate` in records a second."""

    repair: str
    selection: Selection
    parameters: Mapping[str, str]
    rate: float
    max_attempts: int
    send_invalid: bool = False


@dataclass(frozen=True)
class RedriveReport:
    """What became of the letters; `run` is None after a dry run."""

    tally: Tally
    run: Run | None


def schemas_by_id(settings: Settings) -> SchemaOf:
    """Return a look-up of writer schemas that asks the registry once for each id."""
    registry = Registry(settings)

    @cache
    def schema_of(schema_id: int) -> RegisteredSchema | None:
        found = registry.schema(str(schema_id))
        return found if found is not None and found.type == AVRO else None

    return schema_of


def redrive(
    settings: Settings,
    letters: Iterable[DeadLetter],
    request: RedriveRequest,
    *,
    judge: Judge | None,
    redriver: Redriver | None,
    echo: Callable[[str], None] = lambda _: None,
) -> RedriveReport:
    """Repair the letters and send them; without a `redriver` nothing is sent, which is the dry run.

    Those that `judge` would quarantine again are left out, unless the request says otherwise.

    Raises:
        ConfigurationError: there is no such repair, or its parameters are others.
        StreamError: another redrive has taken over.
        DependencyUnavailable: broker or registry did not answer. What was sent by then is in the ledger: repeat the command.
    """
    repair = find_repair(request.repair, request.parameters, modules=settings.redrive_modules)
    run, tally = new_run(request), Tally()
    done = {} if redriver is not None else sent_before(settings)
    plan = plan_redrive(
        letters,
        repair,
        request.parameters,
        schema_of=schemas_by_id(settings),
        was_sent=redriver.was_sent if redriver is not None else lambda letter: ledger_key(letter) in done,
        max_attempts=request.max_attempts,
    )
    for part in _parts(plan):
        planned = part if judge is None or request.send_invalid else _judged(part, judge, run, settings)
        tally.add(planned)
        if redriver is not None:
            run = redriver.send(
                [_outgoing(one) for one in planned if one.outcome in (Outcome.SEND, Outcome.PARK)], run, rate=request.rate
            )
            echo(f"{run.sent:,} sent, {run.parked:,} parked")
    return RedriveReport(tally, run if redriver is not None else None)


def new_run(request: RedriveRequest) -> Run:
    """Return the audit's entry of a redrive that begins now, by the user of this process."""
    return Run(
        id=uuid4().hex[:12],
        started_at=utc_now().isoformat(timespec="milliseconds"),
        by=f"{_user()}@{socket.gethostname()}",
        repair=request.repair,
        parameters=dict(request.parameters),
        selection=request.selection.describe(),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def _judged(part: list[Planned], judge: Judge, run: Run, settings: Settings) -> list[Planned]:
    sent = [one for one in part if one.outcome is Outcome.SEND]
    records = [
        (one.key, one.value, tuple(redrive_headers(_outgoing(one), run, kept=settings.redrive_headers))) for one in sent
    ]
    return with_verdicts(part, judge(records))


def _outgoing(planned: Planned) -> Outgoing:
    return Outgoing(planned.letter, planned.key, planned.value, is_parked=planned.outcome is Outcome.PARK)


def _parts(plan: Iterator[Planned]) -> Iterator[list[Planned]]:
    while part := list(islice(plan, PART)):
        yield part
