"""Columns that are interpreted for few rows: their values are those of the same columns written plainly."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from spark_fixtures import projections_outside_generated_code

from rtap_assets.transforms.interpreted import Interpreted
from rtap_assets.transforms.projections import Projections

SCHEMA = "id INT, is_rare BOOLEAN, text STRING, bytes BINARY, parts ARRAY<STRUCT<key: STRING, value: BINARY>>"
ROWS = [
    (1, False, "plain", b"\x00", []),
    (2, True, "  odd ", b"\xff\x01", [("a", b"1"), ("b", None)]),
    (3, True, None, None, None),
    (4, None, "unknown", b"", [("c", b"")]),
    (5, True, "", b"", []),
]


def closer() -> Column:
    """What Spark can only interpret, beside a condition of which the optimizer makes several, and a struct of the result."""
    letters = F.transform(F.array(F.trim("text"), F.hex("bytes")), lambda one: F.coalesce(one, F.lit("none")))
    keys = F.array_compact(F.transform(F.coalesce("parts", F.array()), lambda part: F.nullif(part["key"], F.lit("b"))))
    return F.struct(letters.alias("letters"), keys.alias("keys"), F.col("id").between(2, 4).alias("within"))


def rare(frame: DataFrame, column: Column | Interpreted) -> dict[int, object]:
    shown = F.to_json("rare", {"ignoreNullFields": "false"}).alias("rare")
    return {row["id"]: row["rare"] for row in Projections([["*", column], ["id", shown]]).apply(frame).collect()}


def unfolded(spark: SparkSession) -> DataFrame:
    """Rows that the optimizer does not compute on the driver."""
    return spark.createDataFrame(spark.sparkContext.parallelize(ROWS, 2), SCHEMA)


@pytest.mark.parametrize("generated", ["true", "false"])
def test_the_values_are_those_of_the_plain_column(spark: SparkSession, generated: str) -> None:
    spark.conf.set("spark.sql.codegen.wholeStage", generated)
    try:
        plain = rare(unfolded(spark), F.when(F.col("is_rare"), closer()).alias("rare"))
        assert rare(unfolded(spark), Interpreted("rare", F.col("is_rare"), closer())) == plain
    finally:
        spark.conf.unset("spark.sql.codegen.wholeStage")
    assert [one for one, value in plain.items() if value is not None] == [2, 3, 5]


def test_rows_that_the_driver_computes_have_the_same_values(spark: SparkSession) -> None:
    local = spark.createDataFrame(ROWS, SCHEMA)
    plain = rare(local, F.when(F.col("is_rare"), closer()).alias("rare"))
    assert rare(local, Interpreted("rare", F.col("is_rare"), closer())) == plain


def test_the_column_is_made_once_and_holds_for_the_next_batch(spark: SparkSession) -> None:
    column = Interpreted("rare", F.col("is_rare"), closer())
    projections = Projections([["*", column], ["id", "rare.keys"]])
    assert [row["keys"] for row in projections.apply(unfolded(spark)).orderBy("id").collect()] == [None, ["a"], [], None, []]
    later = spark.createDataFrame([(6, True, "later", b"", [("z", b"")])], SCHEMA)
    assert [row["keys"] for row in projections.apply(later).collect()] == [["z"]]


def test_it_is_part_of_the_generated_code_of_its_neighbors(spark: SparkSession) -> None:
    columns = ["id", "text", "rare.letters"]
    frame = Projections([["*", Interpreted("rare", F.col("is_rare"), closer())], columns]).apply(unfolded(spark))
    plain = unfolded(spark).select("*", F.when(F.col("is_rare"), closer()).alias("rare")).select(columns)
    assert projections_outside_generated_code(frame) == 0
    assert projections_outside_generated_code(plain) > 0


def test_an_error_that_the_value_raises_names_its_reason(spark: SparkSession) -> None:
    failing = F.transform(F.array("text"), lambda one: F.raise_error(F.concat(F.lit("no such id: "), one)))
    with pytest.raises((PySparkException, Py4JJavaError), match="no such id:   odd"):
        Projections([["id", Interpreted("rare", F.col("id") == 2, failing)]]).apply(unfolded(spark)).collect()


def test_a_value_that_needs_more_than_one_projection_is_refused(spark: SparkSession) -> None:
    among = F.count("id").over(Window.partitionBy("text"))
    with pytest.raises(AssertionError, match="more than one projection"):
        Projections([["id", Interpreted("rare", F.col("is_rare"), among)]]).apply(unfolded(spark))
