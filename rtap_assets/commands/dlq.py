"""`rtap dlq`: the dead letters that nobody has looked at, and saying that they were."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtap_assets.config import get_settings
from rtap_assets.contracts.rules import EXPLANATIONS
from rtap_assets.kafka.dlq_review import REVIEW_GROUP, acknowledge, dlq_lag, unseen_letters

PIPE_WIDTH = 200
REASON_LIMIT = 10_000


@click.group()
def dlq() -> None:
    """The dead-letter topic: look at what is new in it, then acknowledge it."""


@dlq.command()
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Records shown one by one.")
def show(limit: int) -> None:
    """Show the records that nobody has acknowledged: by reason, then the oldest. Changes nothing."""
    settings = get_settings()
    lag = dlq_lag(settings, limit=REASON_LIMIT)
    if not lag.records:
        click.echo(f"{settings.topic_dlq}: nothing new")
        return
    console = Console()
    console = console if console.is_terminal else Console(width=PIPE_WIDTH)
    age = "" if lag.oldest is None else f", the oldest {(datetime.now(UTC) - lag.oldest).total_seconds():,.0f} s old"
    click.echo(f"{settings.topic_dlq}: {lag.records:,} records not acknowledged{age}")
    reasons = Table("reason", "records", "meaning")
    explanations = {reason.value: sentence for reason, sentence in EXPLANATIONS.items()}
    for reason, count in lag.by_reason.items():
        reasons.add_row(reason, f"{count:,}", explanations.get(reason, ""))
    console.print(reasons)
    if limit:
        letters = Table("appended (UTC)", "reason", "detail", "source topic/partition/offset")
        for letter in unseen_letters(settings, limit=limit):
            row = (f"{letter.appended_at:%Y-%m-%d %H:%M:%S}", letter.reason, letter.detail, letter.source)
            letters.add_row(*(Text(cell) for cell in row))
        console.print(letters)
    click.echo("`rtap dlq ack` marks all of them as looked at.")


@dlq.command()
def ack() -> None:
    """Mark everything in the dead-letter topic now as looked at. The records stay where they are."""
    count = acknowledge(get_settings())
    click.echo(f"{count:,} records acknowledged (group {REVIEW_GROUP})")
