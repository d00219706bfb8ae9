"""Connections to the broker: settings for librdkafka and for Spark, and the single translation of its errors.

Owns no topic and no schema. Every client configured here has deadlines: an absent broker is an error, never a hang.
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

# Temporary errors of the broker; librdkafka marks the other retriable ones itself.
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
        # A broker that has just returned or become leader, while the client's metadata are stale.
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.KAFKA_STORAGE_ERROR,
    }
)
READ_COMMITTED, READ_UNCOMMITTED = "read_committed", "read_uncommitted"
# A query's task may need several requests until its records are fetched or written.
MOST_REQUESTS, LEAST_TIMEOUT_SECONDS = 3, 10.0
# Spark's consumer asks the broker for both ends of the Kafka partition after each poll: a tenth of bronze's CPU with Kafka's
# default of 500. A poll returns what one fetch brought, of 1 MiB at most, and no more than this.
RECORDS_PER_POLL = 10_000
# A fetch beyond the last record is still with the broker when a task asks it for both ends, and the broker answers in turn:
# a small batch waited for several of Kafka's default of 500 ms. Only a running task fetches, so idle streams ask no more.
FETCH_WAIT_MS = 1
# A consumer with a full queue looks again after this. By librdkafka's default of a second, a reader of small queues waits
# for it at each Kafka partition.
QUEUE_BACKOFF_MS = 50
REFUSED_CODES = frozenset(
    {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED,
     KafkaError.CLUSTER_AUTHORIZATION_FAILED}
)  # fmt: skip


def client_config(settings: Settings) -> dict[str, Any]:
    """Return the librdkafka properties shared by every producer, consumer and admin client.

    Units: librdkafka takes milliseconds.
    """
    timeout_ms = int(settings.request_timeout_seconds * 1000)
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "socket.timeout.ms": max(timeout_ms, 10),
        "socket.connection.setup.timeout.ms": max(timeout_ms, 1000),
        # A broker on a laptop restarts often: reconnect quickly, where the default backoff grows to 10 s.
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
    """Return the properties of every consumer: read committed, and no automatic offset commits.

    A consumer must name a group even if it neither joins it nor commits.
    """
    return client_config(settings) | {
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": READ_COMMITTED,
        "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
    }


def spark_source_options(settings: Settings) -> dict[str, str]:
    """Return the connection, authentication and timeout options of Spark's Kafka source."""
    timeout_ms = _timeout_ms(settings)
    return _spark_options(settings) | {
        # Aborted records are never returned, and a batch ends before the first record of an open transaction.
        "kafka.isolation.level": READ_COMMITTED,
        "kafkaConsumer.pollTimeoutMs": str(timeout_ms),
        "kafka.default.api.timeout.ms": str(timeout_ms),
        "kafka.max.poll.records": str(RECORDS_PER_POLL),
        "kafka.fetch.max.wait.ms": str(FETCH_WAIT_MS),
    }


def spark_sink_options(settings: Settings) -> dict[str, str]:
    """Return the connection, authentication and timeout options of Spark's Kafka sink."""
    timeout_ms = _timeout_ms(settings)
    return _spark_options(settings) | {
        "kafka.max.block.ms": str(timeout_ms),
        "kafka.delivery.timeout.ms": str(timeout_ms),
    }


def _timeout_ms(settings: Settings) -> int:
    """Return how long a query's tasks and its start wait for the broker; Kafka's and Spark's defaults reach two minutes.

    A waiting task occupies a slot that other streams may need. When it times out, its query waits without one.
    """
    return int(max(MOST_REQUESTS * settings.request_timeout_seconds, LEAST_TIMEOUT_SECONDS) * 1000)


def _spark_options(settings: Settings) -> dict[str, str]:
    """Return the options common to source and sink; properties of Kafka's own clients have the prefix `kafka.`."""
    options = {
        "kafka.bootstrap.servers": settings.bootstrap_servers,
        "kafka.security.protocol": settings.kafka_security_protocol,
        "kafka.request.timeout.ms": str(_timeout_ms(settings) // 2),
    }
    if settings.kafka_sasl_mechanism:
        options["kafka.sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["kafka.sasl.jaas.config"] = _jaas(settings)
    return options


def java_client_config(settings: Settings) -> dict[str, str]:
    """Return the connection, authentication and timeout properties of Kafka's Java clients."""
    named = _spark_options(settings) | {"kafka.default.api.timeout.ms": str(_timeout_ms(settings))}
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
    """Return our error for one of librdkafka's: unavailable if waiting helps, else a configuration error."""
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
