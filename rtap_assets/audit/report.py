"""The result of an audit: equations, the records behind those that fail, and records counted apart. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HOLDS, DOES_NOT_HOLD, NOTHING_TO_COMPARE, COULD_NOT_COMPARE = 0, 1, 2, 3


@dataclass(frozen=True)
class Line:
    """One equation. `left` and `right` are exact, as text; `note` lists the parts of a sum."""

    name: str
    left: str
    right: str
    equal: bool
    note: str = ""


@dataclass(frozen=True)
class Apart:
    """Records or rows that are not compared, or not in the next layer, for a reason that is not damage."""

    name: str
    count: int
    meaning: str


@dataclass(frozen=True)
class DetailSet:
    """Records behind a failed line: their meaning, their number, and the first few."""

    name: str
    meaning: str
    count: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Section:
    """The comparison of two neighbors. `incomplete` is why nothing, or not everything, could be compared."""

    title: str
    lines: tuple[Line, ...] = ()
    apart: tuple[Apart, ...] = ()
    damage: tuple[DetailSet, ...] = ()
    incomplete: str = ""

    @property
    def holds(self) -> bool:
        return all(line.equal for line in self.lines) and not self.damage


@dataclass(frozen=True)
class Report:
    """A whole audit. `compared` is the number of Kafka records compared."""

    sections: tuple[Section, ...]
    compared: int
    seconds: float = 0.0
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return all(section.holds for section in self.sections)

    @property
    def incomplete(self) -> tuple[str, ...]:
        return tuple(section.incomplete for section in self.sections if section.incomplete)

    @property
    def exit_code(self) -> int:
        """Return 0 if everything holds, 1 if something does not, 2 if nothing or not everything could be compared."""
        if not self.holds:
            return DOES_NOT_HOLD
        return NOTHING_TO_COMPARE if self.incomplete or not self.compared else HOLDS

    def line(self, name: str) -> Line:
        """Return the line with this name."""
        return next(line for section in self.sections for line in section.lines if line.name == name)

    def apart(self, name: str) -> int:
        """Return the number of records counted apart under this name; 0 if none are."""
        return sum(one.count for section in self.sections for one in section.apart if one.name == name)

    @property
    def damage(self) -> dict[str, DetailSet]:
        """Return the damaged records by the name of their set."""
        return {detail.name: detail for section in self.sections for detail in section.damage}

    @property
    def broken(self) -> set[str]:
        """Return the names of the lines that do not hold."""
        return {line.name for section in self.sections for line in section.lines if not line.equal}
