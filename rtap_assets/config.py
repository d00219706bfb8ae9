"""Settings: one typed, frozen model, read from `RTAP_*` variables and `.env`; the only reader of the environment.

Every address, topic, path, interval and bound of the platform is a field here, so that an external broker, registry,
catalog or Spark master is a matter of configuration. `.env.example` documents each field (a test holds it to this file).
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Self

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from rtap_assets.errors import ConfigurationError
from rtap_assets.settings import rules
from rtap_assets.settings.addresses import Addresses
from rtap_assets.settings.alerts import AlertSettings
from rtap_assets.settings.dashboard import DashboardSettings
from rtap_assets.settings.quality import QualitySettings
from rtap_assets.settings.queries import QuerySettings
from rtap_assets.settings.state_paths import StatePaths
from rtap_assets.settings.streams import StreamSettings, TriggerSettings
from rtap_assets.settings.tables import TableSettings

PACKAGE = Path(__file__).resolve().parent
PROJECT_ROOT = PACKAGE.parent
# A checkout has one state folder and one .env, whatever folder a command runs in; an installed package uses the current one.
BASE = PROJECT_ROOT if (PROJECT_ROOT / "pyproject.toml").is_file() else Path()

Port = Annotated[int, Field(ge=1, le=65535)]


def _default_cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtap"


RULES: dict[str, Callable[[str], str]] = {
    "kafka_security_protocol": rules.security_protocol,
    "kafka_sasl_mechanism": rules.sasl_mechanism,
    "kafka_bootstrap": rules.brokers,
    "spark_driver_memory": rules.heap,
    "registry_url": partial(rules.web_address, credentials="they go to RTAP_REGISTRY_CREDENTIALS as user:password"),
    "streams_url": partial(rules.web_address, credentials="a stream host asks for its token instead"),
    "catalog_uri": rules.catalog_address,
    "warehouse": rules.store_address,
}


class Settings(
    Addresses, StatePaths, TableSettings, StreamSettings, QualitySettings, QuerySettings, AlertSettings, DashboardSettings,
    TriggerSettings,
):  # fmt: skip
    """Everything that may differ between a laptop and a cluster. Times are in the unit the name ends with."""

    model_config = SettingsConfigDict(
        env_prefix="RTAP_",
        env_file=BASE / ".env",
        env_file_encoding="utf-8",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # a stack trace in a log would show a secret that was put under another name
    )

    # Folders
    state_dir: Path = Field(BASE / ".rtap", description="Holds everything that the embedded stack and the streams write.")
    cache_dir: Path = Field(default_factory=_default_cache_dir, description="Downloaded jars, shared by all checkouts.")
    schemas_dir: Path = Field(PACKAGE / "schemas", description="Avro schemas, one folder per subject.")

    # Java
    java_home: Path | None = Field(None, description="A JDK 17 or 21 to use instead of the one in the packages.")

    # Embedded stack: ports on 127.0.0.1
    kafka_port: Port = Field(19092, description="Port of the embedded Kafka broker.")
    kafka_controller_port: Port = Field(19093, description="Port of the embedded broker's KRaft controller.")
    registry_port: Port = Field(18081, description="Port of the embedded schema registry.")
    ui_port: Port = Field(3000, description="Port of the Dagster webserver.")
    ui_bind: str = Field("127.0.0.1", description="Address that the Dagster webserver listens on; it asks for no token.")
    ui_allowed_hosts: list[str] = Field(
        [], description="Host names besides the loopback ones by which the UI may be called, as a JSON list."
    )
    streams_port: Port = Field(18090, description="Port of the stream host's API.")
    startup_timeout_seconds: float = Field(90, gt=0, description="How long an embedded process may take to get ready.")

    keep_parts: bool = Field(True, description="`rtap up` starts a keeper: parts that die are started again.")

    # Kafka and registry
    kafka_bootstrap: str = Field("", description="Kafka bootstrap servers. Empty: the embedded broker.")
    kafka_security_protocol: str = Field("PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
    kafka_sasl_mechanism: str = Field("", description="For example PLAIN or SCRAM-SHA-512. Empty: no SASL.")
    kafka_username: str = Field("", description="SASL user name.")
    kafka_password: SecretStr = Field(SecretStr(""), description="SASL password.")
    registry_url: str = Field("", description="Confluent-compatible registry URL. Empty: the embedded registry.")
    registry_credentials: SecretStr = Field(SecretStr(""), description="Registry basic credentials, user:password.")
    request_timeout_seconds: float = Field(10, gt=0, description="Deadline of one call to the broker or the registry.")
    dependency_patience_seconds: float = Field(
        60, gt=0, description="How long a one-shot command retries a broker, registry or catalog that does not answer."
    )

    topic_events: str = Field("sales.events.v1", description="Topic of the sales events; its subject is <topic>-value.")
    topic_dlq: str = Field("sales.events.dlq.v1", description="Dead-letter topic.")
    topic_revenue: str = Field("sales.agg.revenue_5m.v1", description="Compacted topic of gold's aggregates.")
    topic_dq: str = Field("dq.results.v1", description="Topic of data-quality results.")
    topic_parked: str = Field(
        "sales.events.parked.v1", description="Topic of dead letters that were sent again too often; kept without limit."
    )
    topic_redrives: str = Field(
        "sales.events.redrives.v1", description="Compacted topic of what was sent again, when, by whom, with which repair."
    )
    redrive_headers: list[str] = Field(
        ["traceparent", "tracestate", "__key_schema_id", "__value_schema_id"],
        description="Headers of a dead letter that its redriven record keeps, as a JSON list.",
    )
    redrive_modules: list[str] = Field(
        [], description="Modules with repairs of your own for redrives, as a JSON list; see docs/dead-letters.md."
    )
    redrive_rate: float = Field(100, gt=0, description="Most records a redrive sends in a second.")
    redrive_max_attempts: int = Field(
        3, ge=1, le=1_000, description="A record that was sent again this often and is quarantined once more is parked."
    )
    topic_partitions: int = Field(3, ge=1, description="Kafka partitions of each topic.")
    topic_replication: int = Field(1, ge=1, description="Replication factor of each topic.")
    topic_max_message_bytes: int = Field(1_048_588, ge=65_536, description="Largest record of the events topic, bytes.")

    # Contract
    max_event_bytes: int = Field(131_072, ge=1_024, description="A value above this many bytes is quarantined.")
    event_time_future_seconds: int = Field(300, ge=0, description="How far event_time may lead the Kafka timestamp.")
    event_time_past_seconds: int = Field(30 * 86_400, ge=0, description="How far event_time may trail the Kafka timestamp.")
    schema_id_horizon: int = Field(
        100_000,
        ge=1,
        description="Of unknown schema ids this far beyond the newest known one, a batch asks for the 20 most frequent.",
    )

    # Lake
    catalog_uri: str = Field("", description="Iceberg JDBC catalog, e.g. jdbc:postgresql://host/db. Empty: SQLite.")
    catalog_user: str = Field("", description="User of a PostgreSQL catalog.")
    catalog_password: SecretStr = Field(SecretStr(""), description="Password of a PostgreSQL catalog.")
    warehouse: str = Field("", description="Iceberg warehouse, e.g. s3://bucket/lake. Empty: a folder in the state dir.")
    catalog_name: str = Field("lake", description="Name of the catalog, the same in Spark and PyIceberg.")
    catalog_busy_seconds: float = Field(
        30, gt=0, description="How long a commit waits while another program holds the embedded catalog's file."
    )

    # Spark
    spark_master: str = Field(
        "local[8]",
        description="Spark master URL. Locally, more slots than cores: a task that waits for the broker holds one.",
    )
    spark_driver_memory: str = Field("1280m", description="Heap of the Spark driver; its process takes about 0.5 GB more.")
    spark_shuffle_partitions: int = Field(2, ge=1, description="Shuffle partitions; pinned by a checkpoint's first start.")
    spark_quick_start: bool = Field(
        False, description="Compile Spark's code fast rather than well: for demos, tests and other runs of a few minutes."
    )
    spark_class_archive: bool = Field(
        True, description="Keep an archive of Spark's classes (245 MB in RTAP_CACHE_DIR), which halves the CPU of its start."
    )
    spark_extra_conf: dict[str, str] = Field({}, repr=False, description="More Spark settings, as a JSON object.")

    # Serving
    audit_memory_mb: int = Field(
        400, ge=100, description="Memory of the database that `rtap reconcile` works in, MB; it spills to disk beyond."
    )
    export_retention_seconds: float = Field(600, ge=0, description="How long old versions of the Parquet folder are kept.")

    @field_validator("state_dir", "cache_dir", "schemas_dir", "java_home", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator(
        "kafka_security_protocol", "kafka_sasl_mechanism", "kafka_bootstrap", "spark_driver_memory", "registry_url",
        "streams_url", "catalog_uri", "warehouse",
    )  # fmt: skip
    @classmethod
    def _well_formed(cls, value: str, info: ValidationInfo) -> str:
        return RULES[str(info.field_name)](value)

    @field_validator("registry_credentials")
    @classmethod
    def _login(cls, value: SecretStr) -> SecretStr:
        return SecretStr(rules.login(value.get_secret_value()))

    @model_validator(mode="after")
    def _fitting_together(self) -> Self:
        rules.login_of_broker(
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_username,
            has_password=bool(self.kafka_password.get_secret_value()),
        )
        rules.different_ports({f"RTAP_{name.upper()}": getattr(self, name) for name in self.embedded_port_names})
        return self


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment and `.env`, with `overrides` on top.

    Raises:
        ConfigurationError: a value is not valid, or a name is no setting; the message names the variable and the rule.
    """
    _refuse_unknown_names(overrides.get("_env_file", Settings.model_config.get("env_file")))
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        defaults = {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}
        faults = "; ".join(rules.fault_text(fault, defaults=defaults) for fault in error.errors(include_input=False))
        raise ConfigurationError(
            f"The settings are not valid: {faults}.", remedy="Correct them in the environment or in .env (see .env.example)."
        ) from error


def _refuse_unknown_names(env_file: object) -> None:
    """A misspelled name would leave its setting at the default without a word; one that was removed is only warned of."""
    given = [*os.environ, *(dotenv_values(env_file) if isinstance(env_file, str | Path) else {})]
    for sentence in rules.removed_names(given):
        warnings.warn(f"{sentence}. Remove it from the environment or .env.", FutureWarning, stacklevel=2)
    if unknown := rules.unknown_names(given, known=Settings.model_fields):
        raise ConfigurationError(
            f"The settings are not valid: {'; '.join(unknown)}.",
            remedy="Correct the name or remove it from the environment or .env (see .env.example).",
        )


def settings_environment(settings: Settings) -> dict[str, str]:
    """The `RTAP_…` variables from which another process reads these same settings, whatever folder it runs in."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {f"RTAP_{name.upper()}": _as_text(value) for name, value in values.items() if value is not None}


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return json.dumps(value) if isinstance(value, dict | list | bool) else str(value)


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
