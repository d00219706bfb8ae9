"""What the command line does not load: a command's help, and the status, are there at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENGINES = ("confluent_kafka", "dagster", "duckdb", "numpy", "pyarrow", "pyiceberg", "pyspark", "sqlalchemy")
FOUND = f"found = [name for name in {ENGINES!r} if name in sys.modules]; print(found)"
ALL_COMMANDS = """
import sys
import click
from rtap_assets.cli import COMMANDS, cli
context = click.Context(cli)
print(len([cli.get_command(context, name) for name in COMMANDS]))
"""
ONE_COMMAND = """
import sys
from rtap_assets.cli import cli
cli({arguments!r}, standalone_mode=False)
"""


def last_line(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code + FOUND],
        env=os.environ | {"RTAP_STATE_DIR": str(folder / "state")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_help_of_all_commands_loads_neither_their_modules_nor_pydantic(tmp_path: Path) -> None:
    code = ONE_COMMAND.format(arguments=["--help"]) + "assert 'pydantic' not in sys.modules;"
    assert last_line(code, tmp_path) == "[]"


def test_the_modules_of_all_commands_load_no_engine(tmp_path: Path) -> None:
    assert last_line(ALL_COMMANDS, tmp_path) == "[]"


def test_status_loads_no_engine(tmp_path: Path) -> None:
    assert last_line(ONE_COMMAND.format(arguments=["status"]), tmp_path) == "[]"
