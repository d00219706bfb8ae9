"""A value that changes with each micro-batch, as a column whose generated code does not change with it."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def batch_constant(value: Column, *, beside: str) -> Column:
    """Return a literal as a column that Spark does not write into the code it generates, which it would compile again.

    Spark hands arrays to the code as objects. The index is zero, computed from the column `beside`, an integer that is never
    null, so that the optimizer does not take the element out of the array.
    """
    return F.get(F.array(value), F.col(beside) - F.col(beside))
