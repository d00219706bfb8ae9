"""`rtap dlq redrive`, `redrives` and `repairs`: repair dead letters and send them again, list the runs, list the repairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rtap_assets.commands.dlq.options import selection_of, selection_options
from rtap_assets.commands.dlq.view import shown_value, table
from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.contracts.dead_letters import SchemaOf, read_value
from rtap_assets.contracts.redrive_plan import Outcome, Planned, Tally
from rtap_assets.contracts.repairs import load_repairs
from rtap_assets.contracts.visible import shown_bytes, visible
from rtap_assets.runtime.terminal import wrapped

if TYPE_CHECKING:
    from rtap_assets.streaming.operations.redrive import Judge, RedriveReport, RedriveRequest


@click.command(name="redrive")
@click.argument("repair", metavar="REPAIR")
@click.option("--parameter", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the repair.")
@selection_options(0, "Most records examined, the oldest first; 0: all.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Records a second. Default: RTAP_REDRIVE_RATE.")
@click.option(
    "--max-attempts", type=click.IntRange(min=1),
    help="A record that was already sent again this often is parked. Default: RTAP_REDRIVE_MAX_ATTEMPTS.",
)  # fmt: skip
@click.option("--send-invalid", is_flag=True, help="Also send records that would be quarantined again. Default: skip them.")
@click.option("--no-verdict", is_flag=True, help="Do not judge the repaired records; saves starting Spark (about 15 s).")
@click.option("--yes", is_flag=True, help="Send. Default: a dry run with samples before and after.")
@pass_settings
def redrive_command(
    settings: Settings, repair: str, parameters: tuple[str, ...], *, no_verdict: bool, yes: bool, **chosen: Any
) -> None:
    """Repair dead letters with REPAIR (see `rtap dlq repairs`) and send them to the events topic again.

    Each identity is sent once: records and ledger are written in one transaction, and a repeated or killed command resumes
    after the last transaction. Records that were sent too often are parked.
    """
    from rtap_assets.streaming.operations.redrive import RedriveRequest, schemas_by_id

    rate, max_attempts, send_invalid = (chosen.pop(name) for name in ("rate", "max_attempts", "send_invalid"))
    request = RedriveRequest(
        repair,
        selection_of(**chosen),
        _parameters(parameters),
        rate=settings.redrive_rate if rate is None else rate,
        max_attempts=settings.redrive_max_attempts if max_attempts is None else max_attempts,
        send_invalid=send_invalid,
    )
    judge = None if no_verdict else _spark_judge(settings)
    for line in report_lines(carry_out(settings, request, judge=judge, send=yes), schemas_by_id(settings)):
        click.echo(line)


def carry_out(settings: Settings, request: RedriveRequest, *, judge: Judge | None, send: bool) -> RedriveReport:
    """Redrive the selected records of bronze, or only plan it (`send` is false)."""
    from rtap_assets.kafka.redrives import open_redriver
    from rtap_assets.serving.dead_letters import read_dead_letters
    from rtap_assets.streaming.operations.redrive import redrive

    records = read_dead_letters(settings, request.selection)
    if not send:
        return redrive(settings, records, request, judge=judge, redriver=None)
    with open_redriver(settings) as redriver:
        return redrive(settings, records, request, judge=judge, redriver=redriver, echo=click.echo)


def report_lines(report: RedriveReport, schema_of: SchemaOf) -> Iterator[str]:
    """Yield the outcome by reason, samples, and the next step."""
    yield from _counts(report.tally)
    for outcome, samples in report.tally.samples.items():
        yield ""
        yield f"{outcome.value}:"
        for sample in samples:
            yield from _sample_lines(sample, schema_of)
    yield ""
    if report.run is None:
        sent, parked = (report.tally.of(outcome) for outcome in (Outcome.SEND, Outcome.PARK))
        yield f"dry run: {sent:,} would be sent, {parked:,} parked; --yes sends"
    else:
        yield f"run {report.run.id}: {report.run.sent:,} sent, {report.run.parked:,} parked, by {visible(report.run.by)}"


@click.command(name="redrives")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Most runs shown; 0: all.")
@pass_settings
def redrives_command(settings: Settings, limit: int) -> None:
    """Show who sent dead letters again, when, with which repair, and how many."""
    from rtap_assets.kafka.redrives import runs

    found = runs(settings)
    if not found:
        click.echo("no dead letter has been sent again")
        return
    rows = [
        (
            run.started_at[:19],
            run.id,
            visible(run.repair, limit=24),
            f"{run.sent:,}",
            f"{run.parked:,}",
            visible(run.by, limit=16),
        )
        for run in (found[:limit] if limit else found)
    ]
    for line in table(("started (UTC)", "run", "repair", "sent", "parked", "by"), rows, right=(3, 4)):
        click.echo(line)


@click.command(name="repairs")
@pass_settings
def repairs_command(settings: Settings) -> None:
    """List the repairs that a redrive can apply, with their parameters."""
    for name, found in load_repairs(settings.redrive_modules).items():
        given = "".join(f" -p {parameter}=…" for parameter in found.parameters)
        click.echo(f"{name}{given}")
        for line in wrapped(f"    {visible(found.doc)}"):
            click.echo(line)


def _spark_judge(settings: Settings) -> Judge:
    from rtap_assets.streaming.operations.record_judge import verdicts
    from rtap_assets.streaming.session import start_session

    session = start_session(settings)
    return lambda records: verdicts(session, settings, records, at=datetime.now(UTC))


def _counts(tally: Tally) -> Iterator[str]:
    rows = [
        (reason, outcome.value + (f": {detail}" if detail else ""), f"{number:,}")
        for (reason, outcome, detail), number in sorted(tally.counts.items())
    ]
    if not rows:
        yield "no quarantined row is selected"
        return
    yield from table(("reason", "outcome", "records"), rows, right=(2,))


def _sample_lines(sample: Planned, schema_of: SchemaOf) -> Iterator[str]:
    record = sample.record
    yield f"  {visible(record.identity)}" + (f": {visible(sample.detail)}" if sample.detail else "")
    if sample.outcome not in (Outcome.SEND, Outcome.STILL_INVALID):
        return
    if sample.key != record.key:
        yield from wrapped(f"    key: {visible(record.key)} → {visible(sample.key)}")
    before, after = (_fields(value, schema_of) for value in (record.value, sample.value))
    for path in dict.fromkeys([*before, *after]):
        if before.get(path) != after.get(path):
            yield from wrapped(f"    {visible(path, limit=40)}: {before.get(path, '-')} → {after.get(path, '-')}")
    if record.value != sample.value:
        yield from wrapped(f"    value: {shown_bytes(record.value, limit=12)} → {shown_bytes(sample.value, limit=12)}")


def _fields(value: bytes | None, schema_of: SchemaOf) -> dict[str, str]:
    reading = read_value(value, schema_of)
    return {} if reading is None else {one.path: shown_value(one.value) for one in reading.values}


def _short(text: str) -> str:
    return visible(text, limit=16)


def _parameters(texts: tuple[str, ...]) -> Mapping[str, str]:
    pairs = [text.partition("=") for text in texts]
    if any(not separator for _, separator, _ in pairs):
        raise click.BadParameter("A parameter is NAME=VALUE.", param_hint="--parameter")
    return {name: value for name, _, value in pairs}
