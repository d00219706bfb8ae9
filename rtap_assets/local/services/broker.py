"""The embedded Kafka broker: one KRaft node, broker and controller in one process, on 127.0.0.1."""

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path

from rtap_assets.config import Settings
from rtap_assets.contracts.topics import DLQ_HEADER_BYTES
from rtap_assets.errors import DependencyUnavailable, LocalStackError
from rtap_assets.java.jars import jars_of
from rtap_assets.java.jvm import java_command
from rtap_assets.kafka.clients import Admin
from rtap_assets.local.ports import LOOPBACK, listens
from rtap_assets.local.processes import Service

NAME = "kafka"
LOG_CONFIG = Path(__file__).parent / "log4j2.xml"
FORMAT_SECONDS = 60
PROBE_SECONDS = 1.0
# Measured on two cores: with the first compiler tier alone it starts faster, and takes 130 k records/s from one producer.
JVM_OPTIONS = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"]


def broker_service(settings: Settings) -> Service:
    """Return the broker as a service that can be started."""
    folder = settings.state_dir / NAME
    log = settings.log_dir / "kafka.log"
    return Service(
        name=NAME,
        title="Kafka broker",
        command=[*_java(settings, log), *JVM_OPTIONS, *_main("kafka.Kafka", settings), str(folder / "server.properties")],
        is_ready=lambda: _answers(settings),
        ports={"RTAP_KAFKA_PORT": settings.kafka_port, "RTAP_KAFKA_CONTROLLER_PORT": settings.kafka_controller_port},
        log_files=[log],
        prepare=lambda: _prepare(settings, folder),
    )


def _java(settings: Settings, log: Path) -> list[str]:
    return [*java_command(settings), f"-Dlog4j2.configurationFile={LOG_CONFIG.as_uri()}", f"-Drtap.log.file={log}"]


def _main(class_name: str, settings: Settings) -> list[str]:
    (folder,) = {jar.parent for jar in jars_of(settings, "broker")}
    return ["-cp", f"{folder}/*", class_name]


def _answers(settings: Settings) -> bool:
    if not listens(settings.kafka_port):
        return False  # a client of its own for every look would cost more CPU than the broker's start
    probe = settings.model_copy(update={"request_timeout_seconds": PROBE_SECONDS})
    admin = Admin(probe)
    try:
        with admin.translated("answer"):
            admin.client.list_topics(timeout=PROBE_SECONDS)
    except DependencyUnavailable:
        return False
    return True


def _prepare(settings: Settings, folder: Path) -> None:
    """Write the properties, and format the data folder once; what is formatted is never formatted again."""
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    lines = (f"{name}={_escaped(value)}\n" for name, value in _properties(settings, folder).items())
    properties.write_text("".join(lines), encoding="ascii")
    if (folder / "data" / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    if cluster_id.startswith("-"):
        cluster_id = "A" + cluster_id[1:]  # a leading dash would be read as an option
    command = [
        *_java(settings, settings.log_dir / "kafka-format.log"), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        *_main("kafka.tools.StorageTool", settings), "format", "--standalone", "-t", cluster_id, "-c", str(properties),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FORMAT_SECONDS)
    if done.returncode:
        raise LocalStackError(
            f"The Kafka broker's data folder could not be formatted:\n{(done.stdout + done.stderr)[-2000:]}\n",
            remedy=f"Check that {folder} is writable and has space.",
        )


def _properties(settings: Settings, folder: Path) -> dict[str, object]:
    broker, controller = f"{LOOPBACK}:{settings.kafka_port}", f"{LOOPBACK}:{settings.kafka_controller_port}"
    largest = settings.topic_max_message_bytes + DLQ_HEADER_BYTES
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": controller,
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": folder / "data",
        "message.max.bytes": largest,
        "replica.fetch.max.bytes": largest,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        # One node: the internal topics cannot have more replicas, and need no 50 Kafka partitions each.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 3,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 3,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 3,
        # The cleaner's table is allocated at start: 128 MB by default, enough here for 700,000 keys in one pass.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
        # An idle controller writes a no-op record twice a second by default.
        "metadata.max.idle.interval.ms": 5000,
    }


def _escaped(value: object) -> str:
    """Return a value as Java reads it from a properties file: backslashes doubled, anything beyond ASCII as \\uXXXX."""
    units = str(value).replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[index : index + 2], "big") for index in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)
