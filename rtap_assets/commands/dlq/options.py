"""The options that select dead letters, the same for each command of `rtap dlq`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.selection import Selection

F = TypeVar("F", bound=Callable[..., Any])


class Instant(click.ParamType[datetime]):
    """A time in ISO 8601; UTC if it has no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-03-01 or 2026-03-01T12:30Z.", param, ctx)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def selection_options(limit: int, limit_help: str) -> Callable[[F], F]:
    """Return a decorator that adds the options; the command passes them as `**chosen` to `selection_of`."""
    options = [
        click.option(
            "--reason", "reasons", multiple=True, type=click.Choice([reason.value for reason in Reason]),
            metavar="CODE", help="Only this reason code; may be repeated. Default: all.",
        ),
        click.option(
            "--schema-id", "schema_ids", multiple=True, type=click.IntRange(0, 2**32 - 1), metavar="ID",
            help="Only values whose header names this schema; may be repeated. Default: all.",
        ),
        click.option("--since", type=Instant(), help="Only records the broker appended at this time or later (UTC)."),
        click.option("--until", type=Instant(), help="Only records the broker appended before this time (UTC)."),
        click.option("--key", help="Only records with exactly this key, as text."),
        click.option("--partition", type=click.IntRange(min=0), help="Only this Kafka partition."),
        click.option("--offset-from", type=click.IntRange(min=0), help="Only from this offset on; needs --partition."),
        click.option("--offset-to", type=click.IntRange(min=0), help="Only up to this offset; needs --partition."),
        click.option("--limit", type=click.IntRange(min=0), default=limit, show_default=True, help=limit_help),
    ]  # fmt: skip

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def selection_of(**chosen: Any) -> Selection:
    """Return the selection that the options describe."""
    return Selection(**chosen | {name: tuple(chosen[name]) for name in ("reasons", "schema_ids")})
