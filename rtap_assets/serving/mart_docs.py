"""What the header of a mart's SQL file says: a description, and below `Columns:` one line per column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

COLUMNS = "Columns:"


@dataclass(frozen=True)
class MartDocs:
    """The description, the meaning of the columns that the header lists, and the statement below it."""

    description: str
    columns: Mapping[str, str]
    statement: str


def parse_mart(sql: str) -> MartDocs:
    """Split a mart's SQL file. A column is `name: meaning`; what is indented further continues the line above."""
    lines = sql.strip().splitlines()
    size = next(index for index, line in enumerate(lines) if not line.startswith("--"))
    header = [line.removeprefix("--").removeprefix(" ") for line in lines[:size]]
    split = header.index(COLUMNS) if COLUMNS in header else len(header)
    columns: dict[str, str] = {}
    for line in header[split + 1 :]:
        if found := re.fullmatch(r"  (\w+): (.+)", line):
            columns[found[1]] = found[2]
        else:
            columns[next(reversed(columns))] += f" {line.strip()}"
    return MartDocs("\n".join(line.strip() for line in header[:split]), columns, "\n".join(lines[size:]))
