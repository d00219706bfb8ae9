"""Bounds of questions that programs and people ask of the lake. Part of `config.Settings`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class QuerySettings(BaseSettings):
    """Bounds of one query. Times are in the unit the name ends with."""

    sql_timeout_seconds: float = Field(60, gt=0, description="Deadline of a query of `rtap sql` and `rtap mcp`.")
    mcp_most_rows: int = Field(1_000, ge=1, le=100_000, description="Most rows that one answer of `rtap mcp` holds.")
    mcp_memory_mb: int = Field(2_048, ge=1_536, description="Memory of the process in which `rtap mcp` runs queries, MB.")
