"""`rtap topics`: a topic against what its stream has read of it, and the guided way on after a loss or a new topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import BRONZE_SPEC, STREAM_SPECS, stream_named
from rtap_assets.errors import StreamError
from rtap_assets.host.client import StreamsClient
from rtap_assets.runtime.locks import LOCK_FILE, lock_holder
from rtap_assets.streaming.model.states import Observed

if TYPE_CHECKING:
    from rtap_assets.streaming.checkpoints.topic_facts import TopicFacts

# No query is active, and none starts before an operator asks for it.
AT_REST = frozenset({Observed.STOPPED, Observed.DIRTY, Observed.REFUSED, Observed.BROKEN})


@click.group()
def topics() -> None:
    """The topics that streams follow: is each the one that was read, and does it still have what comes next?"""


stream_option = click.option(
    "--stream",
    "name",
    type=click.Choice([spec.name for spec in STREAM_SPECS if spec.reads_kafka]),
    default=BRONZE_SPEC.name,
    show_default=True,
    help="The stream that follows the topic.",
)


@topics.command()
@stream_option
@pass_settings
def status(settings: Settings, name: str) -> None:
    """Show the topic beside what its stream has read of it. Exit code 1 when the stream would be refused."""
    from rtap_assets.kafka.topics import end_offsets, topic_config
    from rtap_assets.streaming.checkpoints.topic_facts import topic_facts
    from rtap_assets.streaming.checkpoints.topic_verification import (
        TIMESTAMP_TYPE,
        refuse_unfinished_continuation,
        verify_facts,
        verify_records,
    )

    click.echo(f"asking the broker at {settings.bootstrap_servers}", err=True)
    stream = stream_named(name)
    facts = topic_facts(settings, stream)
    stable = end_offsets(settings, facts.topic)
    bound = facts.binding
    click.echo(f"topic {facts.topic}: id {facts.found.topic_id or 'not known to this broker'}")
    click.echo(
        f"{name} has not been started on it"
        if bound is None
        else f"{name}: bound to id {bound.topic_id or 'not known'} since {bound.bound_at[:19]}Z, epoch {bound.topic_epoch}"
    )
    click.echo(f"{TIMESTAMP_TYPE}: {topic_config(settings, facts.topic).get(TIMESTAMP_TYPE)}")
    Console().print(_offsets(facts, stable))
    refuse_unfinished_continuation(settings, stream)
    verify_facts(facts)
    verify_records(settings, stream, facts)
    click.secho(f"{name} can go on", fg="green")


@topics.command("continue")
@stream_option
@click.option("--accept-loss", is_flag=True, help="Records are gone before the stream read them: go on with what is there.")
@click.option("--new-topic", is_flag=True, help="The topic was made again, or its log replaced: take it as a new epoch.")
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@pass_settings
def continue_(settings: Settings, name: str, accept_loss: bool, new_topic: bool, yes: bool) -> None:
    """Go on after a loss or a new topic: say what will be done, and with --yes do it.

    The loss is written to quality.offset_gaps, the stream's checkpoint is put aside, and its next start begins at the
    offsets that were shown. Killed in between, the same command finishes it.
    """
    from rtap_assets.streaming.checkpoints.topic_continuation import continue_with, plan_continuation

    plan = plan_continuation(settings, stream_named(name), accept_loss=accept_loss, new_topic=new_topic)
    for sentence in plan.sentences():
        click.echo(f"- {sentence}")
    if not yes:
        click.echo("Nothing was changed. Say it again with --yes to do this.")
        return
    _refuse_while_it_runs(settings, name)
    continue_with(settings, plan, echo=click.echo)
    click.secho(f"Start {name} again: `rtap streams start {name}`, or `rtap drain`.", fg="green")


def _refuse_while_it_runs(settings: Settings, name: str) -> None:
    """Make sure that no query of the stream is active.

    Raises:
        StreamError: one is, or the owner of the checkpoints does not answer.
    """
    holder = lock_holder(settings.checkpoint_dir / LOCK_FILE)
    if holder is None and settings.uses_embedded_host:
        return
    with StreamsClient(settings) as client:
        observed = next(one.observed for one in client.statuses() if one.name == name)
    if observed not in AT_REST:
        raise StreamError(
            f"{name.capitalize()} is {observed}: its checkpoint cannot be put aside now.",
            remedy=f"Stop it first: `rtap streams stop {name}`; or wait until the command that owns the checkpoints ends.",
        )


def _offsets(facts: TopicFacts, stable: dict[int, int]) -> Table:
    table = Table("Kafka partition", box=None, header_style="bold", pad_edge=False)
    for column in ("broker keeps from", f"{facts.stream} reads on at", "last stable offset", "high watermark"):
        table.add_column(column, justify="right")
    for partition in sorted(facts.ends.keys() | facts.positions.keys()):
        row = (facts.beginnings, facts.positions, stable, facts.ends)
        table.add_row(str(partition), *(str(column.get(partition, "-")) for column in row))
    return table
