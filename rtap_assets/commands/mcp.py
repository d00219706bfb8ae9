"""`rtap mcp`: the MCP server for a client that starts it, on standard input and output."""

from __future__ import annotations

import io
import sys

import click

from rtap_assets.commands.settings import pass_settings
from rtap_assets.config import Settings


@click.command()
@pass_settings
def mcp(settings: Settings) -> None:
    """Answer an MCP client on standard input and output: tables, SQL, stream states, dead letters. Changes nothing.

    A client starts it; docs/mcp.md has its configuration.
    """
    from rtap_assets.mcp.protocol import Server
    from rtap_assets.mcp.tools import Tools, tool_definitions

    tools = Tools(settings)
    source = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")  # whatever the locale is
    Server(tool_definitions(settings), tools.call, tools.cancel, sys.stdout).serve(source)
