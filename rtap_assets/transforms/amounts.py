"""Decodes amounts from the bytes that were sent: exact, or null."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from rtap_assets.contracts.tables import MONEY

SCALE = 4
LONG_BYTES = 8


def amount_of(column: str) -> Column:
    """Return the amount of big-endian two's complement bytes (unscaled); null when MONEY cannot hold it.

    Zero bytes mean 0, as some encoders write it. More than eight bytes are accepted if the leading ones repeat the sign.

    Source: Avro specification, "Decimal"; Java's `BigInteger(byte[])`.
    """
    hexed = F.hex(F.col(column))
    sign = F.when(F.substring(hexed, 1, 1) >= "8", F.lit("F")).otherwise(F.lit("0"))
    lowest = F.right(hexed, F.lit(2 * LONG_BYTES))
    extended = F.lpad(lowest, 2 * LONG_BYTES, sign)
    wide = F.length(F.col(column)) > LONG_BYTES
    only_sign = (F.lpad(lowest, F.length(hexed), sign) == hexed) & ((F.substring(lowest, 1, 1) >= "8") == (sign == "F"))
    digits = F.when(~wide | only_sign, extended)
    # Base -10: the sixteen digits are a signed number.
    return F.concat(F.conv(digits, 16, -10), F.lit(f"E-{SCALE}")).try_cast(MONEY)
