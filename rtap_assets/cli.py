"""The `rtap` command. Each group lives in `commands/` and is imported when called: `rtap --help` is instant."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module

import click

from rtap_assets.errors import RtapError
from rtap_assets.runtime.background import PRIVATE_UMASK

# name -> (module, attribute, one line for the help page)
COMMANDS = {
    "up": ("rtap_assets.commands.local.stack", "up", "Start the embedded broker and registry (and UI, streams, generator)."),
    "down": ("rtap_assets.commands.local.stack", "down", "Stop what runs; streams are drained first."),
    "status": ("rtap_assets.commands.local.stack", "status", "Show what runs, where, and since when."),
    "top": ("rtap_assets.commands.streaming.top", "top", "Watch the streams and the newest revenue, live."),
    "dashboard": ("rtap_assets.commands.dashboard", "dashboard", "Serve the live revenue page and its HTTP API."),
    "reset": ("rtap_assets.commands.local.stack", "reset", "Remove everything in the state folder."),
    "backup": ("rtap_assets.commands.local.backup", "backup", "Back up lake, catalog and checkpoints of one moment."),
    "restore": ("rtap_assets.commands.local.backup", "restore_command", "Make the state folder from a backup."),
    "doctor": ("rtap_assets.commands.local.doctor", "doctor", "Check Java, jars, ports, memory and disk."),
    "jars": ("rtap_assets.commands.local.jars", "jars", "Fetch or verify the jars."),
    "contracts": ("rtap_assets.commands.contracts", "contracts", "Check and register the Avro schemas."),
    "generate": (
        "rtap_assets.commands.local.generate",
        "generate",
        "Produce seeded sales events with a ledger.",
    ),
    "topics": (
        "rtap_assets.commands.streaming.topics",
        "topics",
        "Compare the events topic with what bronze has read; go on after a loss.",
    ),
    "streams": ("rtap_assets.commands.streaming.streams", "streams", "Start, watch and stop the streams; be their host."),
    "drain": ("rtap_assets.commands.streaming.drain", "drain", "Process what is there now, layer by layer, without a host."),
    "maintain": (
        "rtap_assets.commands.maintenance",
        "maintain",
        "Compact the tables, expire their old snapshots.",
    ),
    "correct": ("rtap_assets.commands.corrections", "correct", "Add late rows, remove later copies, restate gold."),
    "erase": ("rtap_assets.commands.corrections", "erase", "Erase an account from bronze and silver."),
    "rebuild": ("rtap_assets.commands.maintenance", "rebuild", "Rebuild a layer from the table above it."),
    "marts": ("rtap_assets.commands.marts", "marts", "Refresh the DuckDB marts and the published Parquet folder."),
    "sql": ("rtap_assets.commands.sql", "sql", "Ask a question of bronze, silver, gold and the marts."),
    "dq": ("rtap_assets.commands.dq", "dq", "Run the data-quality checks over the lake."),
    "alerts": ("rtap_assets.commands.alerts", "alerts", "Open alerts, their channels, and a test of each."),
    "mcp": ("rtap_assets.commands.mcp", "mcp", "Answer an MCP client on standard input and output, read-only."),
    "tables": ("rtap_assets.commands.tables", "tables", "Changes that other programs made to the tables."),
    "dlq": ("rtap_assets.commands.dlq.group", "dlq", "Look at dead letters; judge them again, send them again."),
    "reconcile": ("rtap_assets.commands.reconcile", "reconcile", "Compare topic, lake and ledger, record by record."),
    "demo": ("rtap_assets.commands.local.demo", "demo", "The whole pipeline, with proof at the end."),
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
    """Run the command; a failure is shown in one sentence with the next step, its stack trace is kept in a file."""
    os.umask(PRIVATE_UMASK)
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    # Py4J logs the stack trace of each call that fails, and does so with the root logger.
    logging.getLogger().addFilter(lambda record: "/py4j/" not in record.pathname)
    try:
        cli()
    except Exception as failure:  # whatever a library raises: people read it
        error = explained(failure)
        click.secho(f"error: {error.message}", fg="red", err=True)
        if error.remedy:
            click.echo(f"  -> {error.remedy}", err=True)
        sys.exit(1)


def explained(failure: Exception) -> RtapError:
    """Return the failure itself when it is one of ours, else what `commands/failures.py` makes of it."""
    if isinstance(failure, RtapError):
        return failure
    error: RtapError = import_module("rtap_assets.commands.failures").explain(failure)
    return error


if __name__ == "__main__":
    main()
