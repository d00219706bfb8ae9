"""Where secrets may not be: on the command line of the JVM, in an address that an error repeats, in what settings print."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.lake.catalog import _sqlalchemy_url, spark_catalog_conf
from rtap_assets.streaming.session import launch_conf, spark_conf

AWKWARD = 'p@ss:w/rd?&%"\\ ü'


def with_canaries(tmp_path: Path) -> tuple[Settings, list[str]]:
    """Settings in which every secret has a value of its own, and those values."""
    secrets = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]
    canaries = {name: f"canary-{number}-{name}" for number, name in enumerate(secrets)}
    found = canaries | {
        "registry_credentials": f"user:{canaries['registry_credentials']}",
        "alert_webhooks": f"https://hooks.example/{canaries['alert_webhooks']}",
    }
    extra = {"spark.hadoop.fs.s3a.secret.key": "canary-of-the-store", "spark.sql.catalog.lake.header.x": "canary-header"}
    settings = load_settings(
        state_dir=tmp_path, catalog_uri="jdbc:postgresql://db/lake", catalog_user="u", spark_extra_conf=extra, **found
    )
    return settings, [*canaries.values(), *extra.values()]


def test_no_secret_is_among_the_arguments_of_the_jvm(tmp_path: Path) -> None:
    settings, canaries = with_canaries(tmp_path)
    assert len(canaries) >= 5
    launched = str(launch_conf(settings))
    assert [canary for canary in canaries if canary in launched] == []
    assert "spark.driver.memory" in launched
    handed_over = str(spark_conf(settings))
    assert settings.catalog_password.get_secret_value() in handed_over


def test_settings_print_no_secret(tmp_path: Path) -> None:
    settings, canaries = with_canaries(tmp_path)
    assert [canary for canary in canaries if canary in f"{settings!r} {settings}"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"spark_extra_conf": {"spark.password": {"canary": "canary"}}},
        {"kafka_password": {"canary": 1}},
        {"kafka_port": "canary"},
        {"registry_url": "http://user:canary@registry/"},
        {"registry_credentials": "canary"},
        {"catalog_uri": "jdbc:postgresql://db/lake?user=u&password=canary"},
        {"catalog_uri": "https://u:canary@db/lake"},
        {"warehouse": "s3://key:canary@bucket/lake"},
        {"kafka_bootstrap": "u:canary@broker:9092"},
        {"streams_url": "http://u:canary@host:18090"},
    ],
)
def test_an_error_about_settings_names_the_variable_and_repeats_no_value(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigurationError) as raised:
        load_settings(**wrong)
    assert f"RTAP_{name.upper()}" in str(raised.value)
    assert "canary" not in "".join(traceback.format_exception(raised.value)).replace("canary-", "")


def test_a_password_of_any_characters_reaches_both_catalogs(tmp_path: Path) -> None:
    settings = load_settings(
        state_dir=tmp_path,
        catalog_uri="jdbc:postgresql://db:5432/lake?sslmode=require",
        catalog_user="us@r",
        catalog_password=AWKWARD,
    )
    url = make_url(_sqlalchemy_url(settings))
    assert (url.username, url.password, url.host, url.port, url.database) == ("us@r", AWKWARD, "db", 5432, "lake")
    assert url.query == {"sslmode": "require"}
    assert spark_catalog_conf(settings)["spark.sql.catalog.lake.jdbc.password"] == AWKWARD


@pytest.mark.parametrize(("heap", "mebibytes"), [("1280m", 480), ("2g", 768), ("512m", 192)])
def test_three_eighths_of_the_heap_are_for_what_dies_with_its_batch(tmp_path: Path, heap: str, mebibytes: int) -> None:
    settings = load_settings(state_dir=tmp_path, spark_driver_memory=heap)
    assert f"-Xmn{mebibytes}m" in launch_conf(settings)["spark.driver.extraJavaOptions"].split()
