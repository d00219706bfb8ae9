"""`rtap doctor`: checks of this machine as a table, each failing one with its fix."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Table

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings
from rtap_assets.local.doctor import Check, check_machine


@click.command()
@pass_settings
def doctor(settings: Settings) -> None:
    """Check Java, jars, ports, memory, disk, and what runs elsewhere; exit with 1 when something required is missing."""
    from rtap_assets.local.external_checks import check_external

    checks = [*check_machine(settings), *check_external(settings)]
    console = Console(highlight=False)
    console.print(_table(checks))
    failed = [check for check in checks if not check.ok]
    for check in failed:
        console.print(f"{check.name}: {check.finding}\n  -> {check.fix}", markup=False, soft_wrap=True)
    if not failed:
        console.print("Everything is in place. Next: `rtap demo`")
    sys.exit(1 if any(check.required for check in failed) else 0)


def _table(checks: list[Check]) -> Table:
    table = Table("", "Check", box=None, pad_edge=False)
    table.add_column("Finding", overflow="fold")
    for check in checks:
        table.add_row(_mark(check), check.name, check.finding)
    return table


def _mark(check: Check) -> str:
    if check.ok:
        return "[green]ok[/]"
    return "[red]FAIL[/]" if check.required else "[yellow]warn[/]"
