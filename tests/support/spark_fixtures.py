"""The one Spark session of a test process, catalogs of its own for each test, and rows to and from DataFrames."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from lake_fixtures import iceberg_schema
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyspark import SparkContext
from pyspark.sql import DataFrame, SparkSession

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.catalog import spark_catalog_conf
from rtap_assets.streaming.session import start_session

Row = Mapping[str, Any]

# PySpark leaves the socket of each `collect` to the garbage collector.
SOCKETS_OF_COLLECT = r"ignore:unclosed <socket\.socket .*127\.0\.0\.1:ResourceWarning"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the filters of the test are read
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let tests leave a socket open once the process has a session: the garbage of one may be collected in a later one."""
    if "spark" in getattr(item, "fixturenames", ()) or SparkContext._active_spark_context is not None:
        item.add_marker(pytest.mark.filterwarnings(SOCKETS_OF_COLLECT))
    return (yield)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Start the session as the platform does, with half the heap."""
    java_home = os.environ.get("JAVA_HOME")
    session = start_session(
        load_settings(state_dir=tmp_path_factory.mktemp("spark") / ".rtap", spark_driver_memory="1g", spark_quick_start=True)
    )
    yield session
    session.stop()
    if java_home is None:
        os.environ.pop("JAVA_HOME", None)
    else:
        os.environ["JAVA_HOME"] = java_home


@pytest.fixture
def lake_settings(spark: SparkSession, tmp_path: Path) -> Settings:
    """Return settings of a test that needs tables and no broker: an empty lake, mounted in the session."""
    return with_own_catalog(spark, load_settings(state_dir=tmp_path / ".rtap"))


def with_own_catalog(session: SparkSession, settings: Settings) -> Settings:
    """Return the settings with a new catalog, mounted in the session: fresh tables without a second session."""
    own = settings.model_copy(update={"catalog_name": f"lake_{uuid4().hex[:8]}"})
    own.lake_dir.mkdir(parents=True, exist_ok=True)
    for key, value in spark_catalog_conf(own).items():
        session.conf.set(key, value)
    return own


def schema_of(spec: TableSpec) -> str:
    """Return the table's columns as Spark reads a schema."""
    return ", ".join(f"{column.name} {column.type}" for column in spec.columns)


def frame_of(session: SparkSession, spec: TableSpec, rows: Sequence[Row]) -> DataFrame:
    """Return the rows as a DataFrame of the table's columns; what a row leaves out is null."""
    return from_arrow(session, rows, schema_to_pyarrow(iceberg_schema(spec), include_field_ids=False))


def from_arrow(session: SparkSession, rows: Sequence[Row], schema: pa.Schema) -> DataFrame:
    """Return the rows as a DataFrame. Through Arrow: from Python objects, Spark would start Python workers."""
    return session.createDataFrame(pa.Table.from_pylist([dict(row) for row in rows], schema=schema))


def rows_of(frame: DataFrame) -> list[dict[str, Any]]:
    """Return the frame's rows, with instants in UTC (`collect` would turn them into this machine's time)."""
    rows: list[dict[str, Any]] = frame.toArrow().to_pylist()
    return rows


def projections_outside_generated_code(frame: DataFrame) -> int:
    """Return how many projections of the frame's plan are no part of generated code that other operators share."""
    lines = frame._jdf.queryExecution().executedPlan().treeString().splitlines()
    projections = [line.lstrip(" :+-") for line in lines if "Project [" in line]
    assert projections
    return sum(not line.startswith("*(") for line in projections)


def largest_generated_method(frame: DataFrame) -> int:
    """Return the size of the largest method of the frame's generated code, in bytes of bytecode."""
    debug = getattr(frame.sparkSession._jvm.org.apache.spark.sql.execution.debug, "package$")
    stages = getattr(debug, "MODULE$").codegenStringSeq(frame._jdf.queryExecution().executedPlan())
    return max(int(stages.apply(place)._3().maxMethodCodeSize()) for place in range(stages.size()))
