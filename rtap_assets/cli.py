"""The `rtap` command. Each group lives in `commands/` and is imported when called: `rtap --help` is instant."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from rtap_assets.config import get_settings
from rtap_assets.errors import RtapError
from rtap_assets.runtime.background import PRIVATE_UMASK

# name -> (module, attribute, one line for the help page)
COMMANDS = {
    "up": ("rtap_assets.commands.stack", "up", "Start the embedded broker and registry (and UI, streams, generator)."),
    "down": ("rtap_assets.commands.stack", "down", "Stop what runs; streams are drained first."),
    "status": ("rtap_assets.commands.stack", "status", "Show what runs, where, and since when."),
    "top": ("rtap_assets.commands.top", "top", "Watch the streams and the newest revenue, live."),
    "reset": ("rtap_assets.commands.stack", "reset", "Remove everything in the state folder."),
    "backup": ("rtap_assets.commands.backup", "backup", "Back up lake, catalog and checkpoints of one moment."),
    "restore": ("rtap_assets.commands.backup", "restore_command", "Make the state folder from a backup."),
    "doctor": ("rtap_assets.commands.doctor", "doctor", "Check Java, jars, ports, memory and disk."),
    "jars": ("rtap_assets.commands.jars", "jars", "Fetch or verify the jars."),
    "contracts": ("rtap_assets.commands.contracts", "contracts", "Check and register the Avro schemas."),
    "generate": ("rtap_assets.commands.generate", "generate", "Produce seeded sales events with a ledger of the truth."),
    "streams": ("rtap_assets.commands.streams", "streams", "Start, watch and stop the streams; be their host."),
    "drain": ("rtap_assets.commands.drain", "drain", "Process what is there now, layer by layer, without a host."),
    "maintain": (
        "rtap_assets.commands.maintenance",
        "maintain",
        "Compact the tables, expire their old snapshots.",
    ),
    "add-late-rows": (
        "rtap_assets.commands.maintenance",
        "late_rows",
        "Add to silver what came too late for its stream; restate gold.",
    ),
    "rebuild": ("rtap_assets.commands.maintenance", "rebuild", "Build a layer anew from the table above it."),
    "marts": ("rtap_assets.commands.marts", "marts", "Refresh the DuckDB marts and the published Parquet folder."),
    "sql": ("rtap_assets.commands.sql", "sql", "Ask a question of bronze, silver, gold and the marts."),
    "dq": ("rtap_assets.commands.dq", "dq", "Run the data-quality checks over the lake."),
    "dlq": ("rtap_assets.commands.dlq", "dlq", "Look at the dead letters, and acknowledge them."),
    "reconcile": ("rtap_assets.commands.reconcile", "reconcile", "Compare topic, lake and ledger, record by record."),
    "demo": ("rtap_assets.commands.demo", "demo", "The whole pipeline, with proof at the end."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="rtap-assets", prog_name="rtap")
def cli() -> None:
    """Real-time revenue: Kafka to Iceberg to DuckDB. Settings come from RTAP_… variables and .env (see .env.example)."""


def main() -> None:
    """Run the command; an error the platform raised on purpose is shown without a stack trace."""
    os.umask(PRIVATE_UMASK)
    try:
        cli()
    except RtapError as error:
        _end_with(error.message, error.remedy)
    except OSError as error:
        if not _is_of_the_state_folder(error):
            raise
        _end_with(f"{error.filename} cannot be used: {error.strerror}.", "Check its folder and disk, or RTAP_STATE_DIR.")


def _end_with(message: str, remedy: str) -> NoReturn:
    click.secho(f"error: {message}", fg="red", err=True)
    if remedy:
        click.echo(f"  -> {remedy}", err=True)
    sys.exit(1)


def _is_of_the_state_folder(error: OSError) -> bool:
    if not isinstance(error.filename, str):
        return False
    path, folder = Path(error.filename), get_settings().state_dir
    return path.is_relative_to(folder) or folder.is_relative_to(path)


if __name__ == "__main__":
    main()
