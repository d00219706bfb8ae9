from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.exceptions import CommitFailedException
from sqlalchemy.exc import OperationalError

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import Column, TableSpec
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.lake.catalog import catalog_session
from rtap_assets.lake.record_table import PROPERTIES, TYPES, RecordTable, as_rows

RECORDS = RecordTable(
    TableSpec(
        namespace="quality",
        name="records",
        view="notes",
        doc="Records.",
        grain="one record",
        key=("of_string",),
        partition="",
        columns=tuple(Column(f"of_{type_.strip(')').replace('(', '_').replace(',', '_')}", type_, type_) for type_ in TYPES),
    ),
    {"commit.retry.num-retries": "0"},
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path, _env_file=None)


def test_records_come_back_with_null_for_what_they_leave_out(settings: Settings) -> None:
    with catalog_session(settings) as catalog:
        assert RECORDS.find(catalog) is None
        table = RECORDS.ensure(catalog)
        table.append(as_rows(table, [{"of_string": "a", "of_int": 1}, {"of_string": "b"}]))
        found = RECORDS.ensure(catalog)
        assert found.metadata.format_version == int(PROPERTIES["format-version"])
        assert found.properties["commit.retry.num-retries"] == "0"
        rows = sorted(found.scan().to_arrow().to_pylist(), key=lambda row: row["of_string"])
    assert [(row["of_string"], row["of_int"], row["of_boolean"]) for row in rows] == [("a", 1, None), ("b", None, None)]
    assert RECORDS.no_rows.num_rows == 0


@pytest.mark.parametrize(
    "error, sentence",
    [
        (CommitFailedException("lost the race"), "Another program has changed the table at the same time: lost the race"),
        (OperationalError("SELECT", {}, Exception("database is locked")), "The Iceberg catalog lake did not answer:"),
    ],
)
def test_an_error_of_the_catalog_is_a_dependency_that_is_away(settings: Settings, error: Exception, sentence: str) -> None:
    with pytest.raises(DependencyUnavailable, match=sentence) as caught, catalog_session(settings):
        raise error
    assert caught.value.context["dependency"] == "catalog"
    assert caught.value.remedy == "Try again; nothing was changed."
