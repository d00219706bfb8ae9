"""`rtap dlq`: list and show dead letters, acknowledge them, judge them again, send them again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from rtap_assets.commands.dlq.options import selection_of, selection_options
from rtap_assets.commands.dlq.redrive import redrive_command, redrives_command, repairs_command
from rtap_assets.commands.dlq.rejudge import rejudge_command
from rtap_assets.commands.dlq.view import groups_table, record_lines
from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.contracts.dead_letters import PERIODS, DeadLetter
from rtap_assets.contracts.selection import Selection
from rtap_assets.errors import ConfigurationError, DependencyUnavailable
from rtap_assets.runtime.terminal import wrapped


@click.group()
def dlq() -> None:
    """Dead letters: records that were quarantined. Inspect them, fix the cause, then judge or send them again.

    Judge again (`rejudge`) when the cause was in the platform: contract, setting, registry. Send again (`redrive`) when the
    record itself needs a repair. See docs/dead-letters.md.
    """


@dlq.command(name="list")
@selection_options(40, "Most groups shown; 0: all.")
@click.option("--by", "period", type=click.Choice(PERIODS), default="day", show_default=True, help="Day or hour, UTC.")
@pass_settings
def list_letters(settings: Settings, period: str, limit: int, **chosen: Any) -> None:
    """Count the quarantined rows of bronze by reason, producer's schema id and day. Changes nothing."""
    click.echo(f"asking the broker at {settings.bootstrap_servers}", err=True)
    for line in wrapped(_review_line(settings)):
        click.echo(line)
    from rtap_assets.serving.dead_letters import count_dead_letters

    groups = count_dead_letters(settings, selection_of(**chosen), period=period)
    if not groups:
        click.echo("bronze.sales_events: no quarantined row is selected")
        return
    click.echo(f"bronze.sales_events: {sum(group.records for group in groups):,} quarantined rows are selected")
    click.echo()
    for line in groups_table(groups, period=period, limit=limit):
        click.echo(line)


@dlq.command()
@click.argument("identities", nargs=-1, metavar="[PARTITION/OFFSET]…")
@selection_options(5, "Most letters shown; 0: all.")
@pass_settings
def show(settings: Settings, identities: tuple[str, ...], **chosen: Any) -> None:
    """Show dead letters in full, newest first, or those at PARTITION/OFFSET. Changes nothing.

    Each record has its identity, reason, detail, headers, and the value decoded as far as possible: the byte and the field
    that failed, and why.
    """
    from rtap_assets.serving.dead_letters import read_dead_letters
    from rtap_assets.streaming.operations.redrive import schemas_by_id

    selections = [_at(identity) for identity in identities] or [selection_of(**chosen)]
    schema_of, sent = schemas_by_id(settings), _sent(settings)
    found = 0
    for selection in selections:
        for record in read_dead_letters(settings, selection, newest_first=True):
            if found:
                click.echo()
            found += 1
            for line in record_lines(record, schema_of, redriven=_redriven(record, sent)):
                click.echo(line)
    if not found:
        click.echo("bronze.sales_events: no quarantined row is selected")


@dlq.command()
@pass_settings
def ack(settings: Settings) -> None:
    """Mark everything that is in the dead-letter topic now as looked at. Removes nothing."""
    from rtap_assets.kafka.dlq_review import REVIEW_GROUP, acknowledge

    count = acknowledge(settings)
    click.echo(f"{settings.topic_dlq}: {count:,} records acknowledged (group {REVIEW_GROUP})")


def _review_line(settings: Settings) -> str:
    """Return how many dead letters are unreviewed; without the broker, why that is unknown."""
    from rtap_assets.kafka.dlq_review import REVIEW_GROUP, dlq_lag

    try:
        lag = dlq_lag(settings, limit=1)
    except (DependencyUnavailable, ConfigurationError) as error:
        return f"{settings.topic_dlq}: the number of unreviewed records is unknown: {error}"
    if not lag.records:
        return f"{settings.topic_dlq}: everything was reviewed (group {REVIEW_GROUP})"
    age = "" if lag.oldest is None else f", the oldest {(datetime.now(UTC) - lag.oldest).total_seconds():,.0f} s old"
    return f"{settings.topic_dlq}: {lag.records:,} records not reviewed{age}; `rtap dlq ack` marks them"


def _sent(settings: Settings) -> dict[str, dict[str, Any]]:
    from rtap_assets.kafka.redrives import sent_before

    try:
        return sent_before(settings)
    except DependencyUnavailable as error:
        click.echo("\n".join(wrapped(f"Whether records were sent again is unknown: {error}", hanging=0)), err=True)
        return {}


def _redriven(record: DeadLetter, sent: dict[str, dict[str, Any]]) -> str:
    from rtap_assets.kafka.redrives import ledger_key

    entry = sent.get(ledger_key(record))
    return "" if entry is None else f"sent to {entry['to']} at {entry['at']} by {entry['by']} with {entry['repair']}"


def _at(identity: str) -> Selection:
    parts = identity.split("/")[-2:]
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise click.BadParameter(f"{identity!r} is not PARTITION/OFFSET, for example 0/1234.")
    return Selection(partition=int(parts[0]), offset_from=int(parts[1]), offset_to=int(parts[1]))


for command in (rejudge_command, redrive_command, redrives_command, repairs_command):
    dlq.add_command(command)
