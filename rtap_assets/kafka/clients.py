"""How to reach the broker: connection settings for librdkafka and for Spark, and the one translation of its errors.

Owns no topic and no schema. Every client built from here has deadlines, so an absent broker is an error, never a hang.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError, DependencyUnavailable

T = TypeVar("T")

# Errors of the broker that mean "not now"; the rest of the retriable ones are marked so by librdkafka itself.
UNAVAILABLE_CODES = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._NO_OFFSET,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_CONTROLLER,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        # A broker that has just come back, or leads anew, and a client that has not heard of it yet.
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.KAFKA_STORAGE_ERROR,
    }
)
READ_COMMITTED, READ_UNCOMMITTED = "read_committed", "read_uncommitted"
# Several requests may be needed until a query's task has its records, or its own have been taken.
MOST_REQUESTS, LEAST_PATIENCE_SECONDS = 3, 10.0
REFUSED_CODES = frozenset(
    {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED,
     KafkaError.CLUSTER_AUTHORIZATION_FAILED}
)  # fmt: skip


def client_config(settings: Settings) -> dict[str, Any]:
    """The librdkafka properties that every producer, consumer and admin client starts from.

    Units: librdkafka takes milliseconds.
    """
    timeout_ms = int(settings.request_timeout_seconds * 1000)
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "socket.timeout.ms": max(timeout_ms, 10),
        "socket.connection.setup.timeout.ms": max(timeout_ms, 1000),
        # The broker on a laptop comes and goes: look again soon, where the default grows to 10 s.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        # "Connection refused" is reported by our own errors; librdkafka's copy on stderr would repeat it line after line.
        "log_level": 2,
    }
    if settings.kafka_sasl_mechanism:
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_username
        config["sasl.password"] = settings.kafka_password.get_secret_value()
    return config


def consumer_config(settings: Settings, group: str) -> dict[str, Any]:
    """Return the properties of every consumer: committed records alone are read, and no offset is committed by itself.

    A consumer must name a group even where it neither joins it nor commits.
    """
    return client_config(settings) | {
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": READ_COMMITTED,
    }


def spark_source_options(settings: Settings) -> dict[str, str]:
    """The options of Spark's Kafka source that say where the broker is, who asks, and how long it is waited for."""
    patience_ms = _patience_ms(settings)
    return _spark_options(settings) | {
        # Aborted records are never handed out, and a batch ends before the first record of an open transaction.
        "kafka.isolation.level": READ_COMMITTED,
        "kafkaConsumer.pollTimeoutMs": str(patience_ms),
        "kafka.default.api.timeout.ms": str(patience_ms),
    }


def spark_sink_options(settings: Settings) -> dict[str, str]:
    """The options of Spark's Kafka sink that say where the broker is, who asks, and how long it is waited for."""
    patience_ms = _patience_ms(settings)
    return _spark_options(settings) | {
        "kafka.max.block.ms": str(patience_ms),
        "kafka.delivery.timeout.ms": str(patience_ms),
    }


def _patience_ms(settings: Settings) -> int:
    """How long a query's tasks and its start wait for the broker, where Kafka and Spark would do so for up to two minutes.

    A waiting task holds a slot that other streams may need. When it gives up, its query waits without one.
    """
    return int(max(MOST_REQUESTS * settings.request_timeout_seconds, LEAST_PATIENCE_SECONDS) * 1000)


def _spark_options(settings: Settings) -> dict[str, str]:
    """Properties of Kafka's own clients are prefixed with `kafka.`."""
    options = {
        "kafka.bootstrap.servers": settings.bootstrap_servers,
        "kafka.security.protocol": settings.kafka_security_protocol,
        "kafka.request.timeout.ms": str(_patience_ms(settings) // 2),
    }
    if settings.kafka_sasl_mechanism:
        options["kafka.sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["kafka.sasl.jaas.config"] = _jaas(settings)
    return options


def java_client_config(settings: Settings) -> dict[str, str]:
    """Return the properties of Kafka's Java clients: where the broker is, who asks, and how long it is waited for."""
    named = _spark_options(settings) | {"kafka.default.api.timeout.ms": str(_patience_ms(settings))}
    return {name.removeprefix("kafka."): value for name, value in named.items()}


def _jaas(settings: Settings) -> str:
    module = "plain.PlainLoginModule" if settings.kafka_sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
    username, password = (
        text.replace("\\", "\\\\").replace('"', '\\"')
        for text in (settings.kafka_username, settings.kafka_password.get_secret_value())
    )
    return f'org.apache.kafka.common.security.{module} required username="{username}" password="{password}";'


class Admin:
    """An admin client that answers within `request_timeout_seconds` or raises one of our errors.

    Keeps the last connection error that librdkafka reported, since a timeout alone does not say why.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last_error = ""
        self.timeout_seconds = settings.request_timeout_seconds
        self.client = AdminClient({**client_config(settings), "error_cb": self._remember})

    def _remember(self, error: KafkaError) -> None:
        # "All brokers down" follows each real cause and would hide it.
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_error = error.str()

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Turn librdkafka's errors inside the block into ours; `what` completes "The broker could not …"."""
        try:
            yield
        except KafkaException as error:
            self.client.poll(0)
            raise translate(error, settings=self._settings, what=what, cause=self._last_error) from error

    def results(self, request: Callable[..., dict[Any, Future[T]]], *args: Any, what: str, **options: Any) -> dict[Any, T]:
        """Send an admin request and wait for all its futures."""
        with self.translated(what):
            futures = request(*args, request_timeout=self.timeout_seconds, **options)
            return {key: future.result() for key, future in futures.items()}


def translate(
    error: KafkaException, *, settings: Settings, what: str, cause: str = ""
) -> DependencyUnavailable | ConfigurationError:
    """Our error for one of librdkafka's: unavailable where waiting helps, a configuration error where it does not."""
    kafka_error = error.args[0]
    where = settings.bootstrap_servers
    detail = cause or kafka_error.str()
    code = kafka_error.code()
    if code in REFUSED_CODES:
        return ConfigurationError(
            f"The Kafka broker at {where} refused to {what}: {detail}.",
            remedy="Check RTAP_KAFKA_SECURITY_PROTOCOL, RTAP_KAFKA_SASL_MECHANISM, RTAP_KAFKA_USERNAME and its rights.",
            code=code,
        )
    if code in UNAVAILABLE_CODES or kafka_error.retriable():
        remedy = (
            "Run `rtap up`." if settings.uses_embedded_broker else "Check RTAP_KAFKA_BOOTSTRAP and that the broker is up."
        )
        return DependencyUnavailable(
            f"The Kafka broker at {where} did not {what} within {settings.request_timeout_seconds:g} s: {detail}.",
            remedy=remedy,
            dependency="kafka",
            address=where,
            code=code,
        )
    return ConfigurationError(
        f"The Kafka broker at {where} could not {what}: {kafka_error.str()}.",
        remedy="Check the topic settings (RTAP_TOPIC_…).",
        code=code,
    )
