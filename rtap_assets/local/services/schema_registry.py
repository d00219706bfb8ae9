"""The embedded schema registry: Apicurio with its Confluent-compatible API, its data in an H2 file, on 127.0.0.1."""

from __future__ import annotations

from rtap_assets.config import Settings
from rtap_assets.java.jars import jars_of
from rtap_assets.java.jvm import java_command
from rtap_assets.local.ports import LOOPBACK, listens
from rtap_assets.local.processes import Service
from rtap_assets.registry.client import Registry

NAME = "registry"
PROBE_SECONDS = 1.0
JVM_OPTIONS = ["-Xms32m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"]


def registry_service(settings: Settings) -> Service:
    """Return the registry as a service that can be started."""
    log = settings.log_dir / "registry.log"
    (runner,) = (jar for jar in jars_of(settings, "registry") if jar.name.endswith("-runner.jar"))
    properties = [f"-D{name}={value}" for name, value in _properties(settings, str(log)).items()]
    probe = settings.model_copy(update={"request_timeout_seconds": PROBE_SECONDS})
    return Service(
        name=NAME,
        title="Schema registry",
        command=[*java_command(settings), *JVM_OPTIONS, *properties, "-jar", str(runner)],
        is_ready=lambda: listens(settings.registry_port) and Registry(probe).is_ready(),
        ports={"RTAP_REGISTRY_PORT": settings.registry_port},
        log_files=[log],
        prepare=lambda: (settings.state_dir / NAME).mkdir(parents=True, exist_ok=True),
    )


def _properties(settings: Settings, log: str) -> dict[str, object]:
    # WRITE_DELAY=0: H2 flushes half a second late by default, and a schema that was acknowledged must survive a kill -9.
    database = f"jdbc:h2:file:{settings.state_dir / NAME / 'registry'};WRITE_DELAY=0"
    return {
        "quarkus.http.host": LOOPBACK,
        "quarkus.http.port": settings.registry_port,
        "apicurio.storage.kind": "sql",
        "apicurio.storage.sql.kind": "h2",
        "apicurio.datasource.url": database,
        # One user on one machine: twenty connections opened at start are time and memory for nothing.
        "apicurio.datasource.jdbc.initial-size": 2,
        "apicurio.datasource.jdbc.min-size": 2,
        "apicurio.datasource.jdbc.max-size": 10,
        "quarkus.http.access-log.enabled": "false",
        "apicurio.logconfigjob.every": "60s",
        "quarkus.log.console.level": "WARN",
        "quarkus.log.file.enable": "true",
        "quarkus.log.file.json": "false",
        "quarkus.banner.enabled": "false",
        "quarkus.log.file.path": log,
        "quarkus.log.file.rotation.max-file-size": "10M",
        "quarkus.log.file.rotation.max-backup-index": 3,
        "java.io.tmpdir": settings.state_dir / NAME,
    }
