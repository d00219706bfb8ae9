"""Settings with wrong values are refused by name, with what to write; misspelled names are no silence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT, load_settings, settings_environment
from rtap_assets.errors import ConfigurationError
from rtap_assets.settings.rules import REMOVED_NAMES

LOGIN = {"RTAP_KAFKA_SASL_MECHANISM": "PLAIN", "RTAP_KAFKA_USERNAME": "u", "RTAP_KAFKA_PASSWORD": "p"}


def refusal(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> str:
    """What is said of these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert raised.value.remedy
    return raised.value.message


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("RTAP_KAFKA_SECURITY_PROTOCOL", "SASL_TLS", "write one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ("RTAP_KAFKA_SASL_MECHANISM", "OAUTHBEARER", "write one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
        ("RTAP_KAFKA_BOOTSTRAP", "broker", "write host:port"),
        ("RTAP_KAFKA_BOOTSTRAP", "one:9092;two:9092", "write host:port"),
        ("RTAP_KAFKA_PORT", "99999", "less than or equal to 65535"),
        ("RTAP_REQUEST_TIMEOUT_SECONDS", "5m", "write a plain number of seconds without a unit, for example 10"),
        ("RTAP_TOPIC_PARTITIONS", "three", "write a plain number without a unit, for example 3"),
        ("RTAP_TOPIC_PARTITIONS", "2.5", "write a plain number without a unit, for example 3"),
        ("RTAP_SPARK_DRIVER_MEMORY", "2GB", "write a whole number and m or g, for example 2g or 1536m"),
        ("RTAP_SPARK_DRIVER_MEMORY", "0g", "write a whole number and m or g"),
        ("RTAP_REGISTRY_URL", "registry:8081", "begins with http:// or https://"),
        ("RTAP_REGISTRY_URL", "http://user:word@registry:8081", "they go to RTAP_REGISTRY_CREDENTIALS as user:password"),
        ("RTAP_REGISTRY_CREDENTIALS", "user", "write user:password"),
        ("RTAP_STREAMS_URL", "127.0.0.1:18090", "begins with http:// or https://"),
        ("RTAP_CATALOG_URI", "jdbc:mysql://db/lake", "write jdbc:postgresql://host:port/database"),
        ("RTAP_CATALOG_URI", "jdbc:postgresql://db/lake?password=x", "RTAP_CATALOG_PASSWORD"),
        ("RTAP_WAREHOUSE", "s3://key:word@bucket/lake", "RTAP_SPARK_EXTRA_CONF"),
    ],
)
def test_a_wrong_value_is_refused_by_name_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    message = refusal(monkeypatch, {name: value})
    assert f"{name}: " in message
    assert said in message
    assert "word" not in message.replace("password", "")


def test_two_services_cannot_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, {"RTAP_UI_PORT": "19092"})
    assert "RTAP_KAFKA_PORT and RTAP_UI_PORT are both 19092: give each a port of its own" in message
    monkeypatch.setenv("RTAP_KAFKA_BOOTSTRAP", "broker:9092")  # then there is no embedded broker
    assert load_settings().ui_port == 19092


def test_a_login_is_complete_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "RTAP_KAFKA_SASL_MECHANISM is not used" in refusal(monkeypatch, LOGIN)
    monkeypatch.setenv("RTAP_KAFKA_SECURITY_PROTOCOL", "sasl_ssl")
    assert load_settings().kafka_security_protocol == "SASL_SSL"
    message = refusal(monkeypatch, {"RTAP_KAFKA_USERNAME": "", "RTAP_KAFKA_PASSWORD": ""})
    assert "RTAP_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs RTAP_KAFKA_USERNAME, RTAP_KAFKA_PASSWORD as well" in message


def test_a_misspelled_name_is_refused_with_the_one_that_is_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = refusal(monkeypatch, {"RTAP_STREMS_PORT": "1", "rtap_zzz": "1"})
    assert "RTAP_STREMS_PORT is no setting (is RTAP_STREAMS_PORT meant?); RTAP_ZZZ is no setting." in message


@pytest.mark.parametrize("name", sorted(REMOVED_NAMES))
def test_a_setting_of_an_earlier_version_is_warned_of_with_what_holds_instead(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.warns(FutureWarning, match=re.escape(f"{name} is no setting any more: {REMOVED_NAMES[name]}.")):
        load_settings()
    assert f"`{name}`" in (PROJECT_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_misspelled_name_in_the_file_is_refused_too(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("RTAP_UI_PROT=3001\nOTHER=1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"RTAP_UI_PROT is no setting \(is RTAP_UI_PORT meant"):
        load_settings(_env_file=file)


def test_names_that_the_set_up_reads_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTAP_PYTHON", "/usr/bin/python3")
    load_settings()


def test_every_setting_survives_the_way_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="PLAIN", kafka_username="u", kafka_password='p"\\',
        registry_credentials="u:p:q", streams_allowed_hosts=["a", "b"], spark_extra_conf={"spark.x": "y"},
    )  # fmt: skip
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings
