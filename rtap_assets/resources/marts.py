"""The marts' file as a Dagster resource: dagster-duckdb's, read-only, and closed whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from dagster_duckdb import DuckDBResource
from pydantic import Field

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Marts(DuckDBResource):  # type: ignore[misc]
    """Reads the marts. The refresh replaces the file; a connection sees the one it opened."""

    connection_config: dict[str, Any] = Field({"access_mode": "READ_ONLY"})

    @contextmanager
    def get_connection(self) -> Iterator[DuckDBPyConnection]:
        """A connection in UTC for the time of the block. dagster-duckdb's own stays open when the block raises."""
        with super().get_connection() as connection, closing(connection):
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
