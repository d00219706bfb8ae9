"""The text rule of the contract as columns: which text is clean, and how other text is repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F

from rtap_assets.contracts import rules
from rtap_assets.contracts.text import CLEAN, FORBIDDEN_CLASS, REPLACEMENT, TRIMMED_ENDS

SEPARATOR = "\n"  # never within clean text
VISIBLE_ASCII = (b"!", b"~")
VISIBLE = "[!-~]++"  # one range, without a way back: the cheapest pattern to match
HEX_RUNS = "-".join(["[0-9a-fA-F]++"] * 5)
HYPHENS, UUID_BYTES = (9, 14, 19, 24), 36
SHOWN_BYTES = 4  # the most that one character takes


def is_clean(*, uuid: str, required: Sequence[str], optional: Sequence[str]) -> Column:
    """Return true when `uuid` is a UUID and the other fields are clean text; null when a required field is null.

    One pattern over all fields costs a fraction of one pattern per field. Visible ASCII, as nearly all text is, is tried
    first: a pattern of greedy runs, with which the places of the hyphens make a UUID, costs a third of the exact one.
    """
    fields = [F.col(uuid), *(F.col(name) for name in required), *(F.coalesce(F.col(name), F.lit("")) for name in optional)]
    together = F.concat(*(part for field in fields for part in (field, F.lit(SEPARATOR))))
    visible = [HEX_RUNS, *(VISIBLE for _ in required), *(f"(?:{VISIBLE})?+" for _ in optional)]
    exact = [rules.UUID_PATTERN, *(f"(?:{CLEAN})" for _ in required), *(f"(?:{CLEAN})?" for _ in optional)]
    return (_has_places_of_hyphens(uuid) & together.rlike(_lines(visible))) | together.rlike(_lines(exact))


def _has_places_of_hyphens(uuid: str) -> Column:
    sent = F.col(uuid).cast("binary")
    hyphens = (F.substring(sent, place, 1) == F.lit(b"-") for place in HYPHENS)
    return reduce(Column.__and__, hyphens, F.octet_length(sent) == UUID_BYTES)


def _lines(patterns: Sequence[str]) -> str:
    return "^" + "".join(pattern + SEPARATOR for pattern in patterns) + r"\z"


def trimmed(column: Column) -> Column:
    """Return the text without the white space, control and format characters around it.

    Text that begins and ends with a visible ASCII character, as nearly all does, needs no pattern. Bytes are looked at,
    since Spark counts the characters of a text to find the last one.
    """
    visible = (F.substring(column.cast("binary"), place, 1).between(*map(F.lit, VISIBLE_ASCII)) for place in (1, -1))
    return F.when(reduce(Column.__and__, visible), column).otherwise(F.regexp_replace(column, TRIMMED_ENDS, ""))


def printable(column: Column) -> Column:
    """Return the text with everything that is not valid text replaced by U+FFFD."""
    return F.regexp_replace(F.make_valid_utf8(column), FORBIDDEN_CLASS, REPLACEMENT)


def cleaned(fields: Mapping[str, Column]) -> Column:
    """Return for each field, in order, a struct of its trimmed, printable `text` and its `fault`, if any."""
    named = F.array(*(F.struct(F.lit(name).alias("name"), column.alias("sent")) for name, column in fields.items()))
    trimmed_ = F.transform(
        named,
        lambda field: F.struct(
            field["name"].alias("name"),
            field["sent"].alias("sent"),
            trimmed(F.make_valid_utf8(field["sent"])).alias("kept"),
        ),
    )
    return F.transform(
        trimmed_,
        lambda field: F.struct(
            F.regexp_replace(field["kept"], FORBIDDEN_CLASS, REPLACEMENT).alias("text"), _fault(field).alias("fault")
        ),
    )


def first_fault(texts: Column) -> Column:
    """Return the first fault among what `cleaned` made; null when there is none."""
    return F.get(F.array_compact(texts["fault"]), F.lit(0))


def _fault(field: Column) -> Column:
    """Return the field, position and bytes of its first invalid text; null when all of it is valid."""
    before = F.substring_index(F.make_valid_utf8(field["sent"]), REPLACEMENT, 1)
    place = F.octet_length(before) + 1
    bytes_there = F.substring(field["sent"].cast("binary"), place, F.lit(SHOWN_BYTES))
    no_utf8 = F.concat(field["name"], F.lit(" is not UTF-8 from byte "), place, F.lit(" on: "), F.hex(bytes_there))
    character = F.regexp_extract(field["kept"], FORBIDDEN_CLASS, 0)
    control = F.concat(field["name"], F.lit(" has a control or format character within: "), F.hex(character))
    return F.when(~F.is_valid_utf8(field["sent"]), no_utf8).when(field["kept"].rlike(FORBIDDEN_CLASS), control)
