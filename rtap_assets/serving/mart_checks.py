"""What must hold of the marts after each refresh: their grain, and that what is summed again is the same sum."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

GRAIN = "grain"
ADDS_UP = "adds_up"


@dataclass(frozen=True)
class MartCheck:
    """The result of one check of one mart; `failed` counts the rows or sums that break it."""

    mart: str
    name: str
    failed: int
    checked: int

    @property
    def passed(self) -> bool:
        return not self.failed


def check_grain(connection: duckdb.DuckDBPyConnection, mart: str, *, key: tuple[str, ...]) -> MartCheck:
    """Check that no two rows have the same key."""
    columns = ", ".join(key)
    ((rows, keys),) = connection.execute(
        f"SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT {columns} FROM {mart})) FROM {mart}"
    ).fetchall()
    return MartCheck(mart, GRAIN, failed=rows - keys, checked=rows)


def check_sums(connection: duckdb.DuckDBPyConnection, mart: str, *, measures: tuple[str, ...]) -> MartCheck:
    """Check that each measure adds up, by currency, to that of the tumbling windows the mart is made from."""
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in measures)
    differs = " OR ".join(f"mart.{name} IS DISTINCT FROM windows.{name}" for name in measures)
    ((checked, failed),) = connection.execute(
        f"""SELECT count(*), count(*) FILTER (WHERE {differs})
        FROM (SELECT currency, {sums} FROM {mart} GROUP BY currency) AS mart
        FULL JOIN (SELECT currency, {sums} FROM tumbling_revenue GROUP BY currency) AS windows USING (currency)"""
    ).fetchall()
    return MartCheck(mart, ADDS_UP, failed=failed, checked=checked)
