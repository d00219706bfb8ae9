"""Write the pages of `docs/reference/` from the code: settings, commands, tables and marts, metrics.

`python tools/generate_reference.py` writes them; with `--check` it only compares, names what differs and exits with 1.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rtap_assets.cli import COMMANDS, cli
from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.contracts.corrections import CORRECTIONS
from rtap_assets.contracts.offset_gaps import OFFSET_GAPS
from rtap_assets.contracts.tables import DQ_RESULTS, TABLES
from rtap_assets.host.metrics import COUNT_HELP, COUNT_METRIC, HOST_METRICS, STATE_HELP, STATE_METRIC, STREAM_METRICS
from rtap_assets.serving.marts import MARTS

FOLDER = PROJECT_ROOT / "docs" / "reference"
NOTE = "<!-- Written by tools/generate_reference.py; change the code instead. -->"
HELP_WIDTH = 100


def settings_page() -> Iterator[str]:
    """Yield the page of the settings, in the groups of `.env.example`."""
    yield "# Settings"
    yield ""
    yield NOTE
    yield ""
    yield "Variables of the environment, or lines of `.env`; variables win. Times are in the unit that the name ends with,"
    yield "sizes in bytes unless the name differs. A name that is no setting is refused, with the one that may be meant."
    text = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")
    for part in re.split(r"^# ---- ", text, flags=re.MULTILINE)[1:]:
        yield ""
        yield f"## {part.splitlines()[0]}"
        yield ""
        yield "| setting | default | meaning |"
        yield "|---|---|---|"
        for name in re.findall(r"^#?RTAP_(\w+)=", part, flags=re.MULTILINE):
            field = Settings.model_fields[name.lower()]
            yield f"| `RTAP_{name}` | {_default(name.lower())} | {_cell(str(field.description))} |"


def _default(name: str) -> str:
    value: Any = Settings.model_fields[name].get_default(call_default_factory=True)
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, Path):
        value = str(value).replace(f"{PROJECT_ROOT}/", "").replace(str(Path.home()), "~")
    if isinstance(value, list | dict | bool):
        value = json.dumps(value)
    text = f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
    return f"`{_cell(text)}`" if text else ""


def commands_page() -> Iterator[str]:
    """Yield the page of the commands, each with its own help text."""
    yield "# Commands"
    yield ""
    yield NOTE
    yield ""
    yield "Every command ends with 0 when it did what was asked. An error is one sentence and the next step, on the standard"
    yield "error; its stack trace is in `logs/failures.log` of the state folder. `rtap COMMAND --help` prints what is here."
    root = click.Context(cli, info_name="rtap")
    for name, (_, _, line) in COMMANDS.items():
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(
            command, info_name=name, parent=root, max_content_width=HELP_WIDTH, terminal_width=HELP_WIDTH
        )
        yield from _command(command, context, heading="##", line=line)
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                below = command.get_command(context, sub)
                assert below is not None
                inner = click.Context(
                    below, info_name=sub, parent=context, max_content_width=HELP_WIDTH, terminal_width=HELP_WIDTH
                )
                yield from _command(below, inner, heading="###", line="")


def _command(command: click.Command, context: click.Context, *, heading: str, line: str) -> Iterator[str]:
    yield ""
    yield f"{heading} {context.command_path}"
    if line:
        yield ""
        yield line
    yield ""
    yield "```"
    yield from command.get_help(context).splitlines()
    yield "```"


def tables_page() -> Iterator[str]:
    """Yield the page of the tables of the lake and of the marts."""
    yield "# Tables and marts"
    yield ""
    yield NOTE
    yield ""
    yield "Tables are Iceberg tables of the catalog; `rtap sql` has a view of each, by the name in brackets. Timestamps are"
    yield "instants in UTC. Marts are tables or views of a DuckDB file, `marts/marts.duckdb` of the state folder, and"
    yield "`marts.<name>` in `rtap sql`."
    for spec in (*TABLES, DQ_RESULTS, CORRECTIONS, OFFSET_GAPS):
        yield ""
        yield f"## {spec.identifier} ({spec.view})"
        yield ""
        yield f"{spec.doc} Grain: {spec.grain}."
        yield ""
        yield "| column | type | meaning |"
        yield "|---|---|---|"
        for column in spec.columns:
            yield f"| `{column.name}` | {column.type} | {_cell(column.doc)} |"
    for mart in MARTS:
        docs = mart.docs
        yield ""
        yield f"## marts.{mart.name}"
        yield ""
        yield re.sub(r"\n(?=\w+: )", "\n\n", docs.description)
        if docs.columns:
            yield ""
            yield "| column | meaning |"
            yield "|---|---|"
            yield from (f"| `{name}` | {_cell(meaning)} |" for name, meaning in docs.columns.items())
        yield ""
        yield f"Columns of a name that is in the tables above mean the same. Built by `serving/sql/{mart.name}.sql`."


def metrics_page() -> Iterator[str]:
    """Yield the page of the stream host's metrics."""
    yield "# Metrics"
    yield ""
    yield NOTE
    yield ""
    yield "`/metrics` of the stream host, in Prometheus' text format. The bearer token is in `streams/token` of the state"
    yield "folder. A reading that is not known is left out, never written as 0. `docker/` has a Grafana dashboard, and a"
    yield "configuration for Prometheus."
    yield ""
    yield "| metric | labels | meaning |"
    yield "|---|---|---|"
    for name, text in HOST_METRICS.items():
        yield f"| `{name}` | | {_cell(text)} |"
    yield f"| `{STATE_METRIC}` | `stream`, `state` | {_cell(STATE_HELP)} |"
    yield f"| `{COUNT_METRIC}` | `stream`, `count` | {_cell(COUNT_HELP)} |"
    for name, (_, text) in STREAM_METRICS.items():
        yield f"| `{name}` | `stream` | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


PAGES = {"settings.md": settings_page, "commands.md": commands_page, "tables.md": tables_page, "metrics.md": metrics_page}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` compare them."""
    outdated = []
    for name, page in PAGES.items():
        path, text = FOLDER / name, "\n".join(page()) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            outdated.append(name)
            if "--check" not in arguments:
                FOLDER.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if "--check" in arguments and outdated:
        print(f"not as the code: {', '.join(outdated)}; run: python tools/generate_reference.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
