"""A catalog or warehouse whose driver is missing is refused at once and by name, wherever it is opened first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.lake.catalog import open_catalog
from rtap_assets.lake.drivers import missing_drivers, require_drivers
from rtap_assets.local.external_checks import check_external
from rtap_assets.streaming.failures import Verdict, verdict_on
from rtap_assets.streaming.session import start_session

POSTGRES = {"catalog_uri": "jdbc:postgresql://db/lake", "catalog_user": "u", "catalog_password": "p"}


@pytest.mark.parametrize("use", [require_drivers, open_catalog, start_session])
def test_a_postgresql_catalog_without_its_drivers_is_refused_at_once(
    use: Callable[[Settings], object], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        use(load_settings(state_dir=tmp_path, **POSTGRES))
    assert "psycopg2 is not installed" in raised.value.message
    assert "no jar of PostgreSQL's JDBC driver" in raised.value.message
    assert "RTAP_SPARK_EXTRA_CONF" in raised.value.remedy


def test_a_jar_that_the_settings_bring_counts(tmp_path: Path) -> None:
    extra = {"spark.jars.packages": "org.postgresql:postgresql:42.7.4"}
    (left,) = missing_drivers(load_settings(state_dir=tmp_path, spark_extra_conf=extra, **POSTGRES))
    assert "psycopg2" in left


def test_an_object_store_without_a_jar_is_refused_and_a_mounted_folder_is_not(tmp_path: Path) -> None:
    (said,) = missing_drivers(load_settings(state_dir=tmp_path, warehouse="s3://bucket/lake"))
    assert "RTAP_WAREHOUSE names an object store (s3://)" in said
    for local in ("", f"file://{tmp_path}", str(tmp_path)):
        assert missing_drivers(load_settings(state_dir=tmp_path, warehouse=local)) == []


def test_the_doctor_asks_what_runs_elsewhere_and_only_that(tmp_path: Path) -> None:
    assert list(check_external(load_settings(state_dir=tmp_path))) == []
    elsewhere = load_settings(
        state_dir=tmp_path,
        kafka_bootstrap="127.0.0.1:1",
        registry_url="http://127.0.0.1:1",
        request_timeout_seconds=1,
        **POSTGRES,
    )
    found = {check.name: check for check in check_external(elsewhere)}
    assert {name: check.ok for name, check in found.items()} == dict.fromkeys(
        ["Kafka broker", "Registry", "Drivers", "Catalog"], False
    )
    assert "127.0.0.1:1" in found["Kafka broker"].finding
    assert all(check.fix for check in found.values())


@pytest.mark.parametrize(
    "text",
    [
        "org.apache.iceberg.jdbc.UncheckedSQLException: Failed to connect\njava.sql.SQLException: No suitable driver",
        'org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"',
        'org.postgresql.util.PSQLException: FATAL: password authentication failed for user "u"',
    ],
)
def test_what_waiting_does_not_bring_is_a_fault_with_its_cause(text: str) -> None:
    verdict, reason = verdict_on(RuntimeError(text))
    assert verdict is Verdict.FAULT
    assert reason in text
