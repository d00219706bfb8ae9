"""Results of data-quality checks as messages: published in Avro, read back by offset. No consumer group, no loop.

A message is keyed by table and check, so that the results of one check keep their order. Delivery is at least once: the
producer is idempotent, but a caller may publish the same evaluation again; `result_id` identifies repeats.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from confluent_kafka import KafkaException, Message, Producer
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.schemas import DQ_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.avro.wire import frame, unframe, value_subject
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.bounded_read import read_after
from rtap_assets.kafka.clients import client_config, translate
from rtap_assets.quality.catalog import DqResult
from rtap_assets.registry.client import Registry


@dataclass(frozen=True)
class ResultBatch:
    """Results in the order of their offsets within each Kafka partition, and the offsets to go on from."""

    results: list[DqResult]
    offsets: dict[int, int]


class DqPublisher:
    """Publishes results; one per process, for it keeps a producer and the schema's id. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._schema_id, self._schema = _newest_schema(settings)
        self._producer = Producer(client_config(settings) | {"enable.idempotence": True, "linger.ms": 5})

    def publish(self, results: Iterable[DqResult]) -> int:
        """Send the results and wait until the broker has them all; returns how many there were.

        Raises:
            DependencyUnavailable: the broker did not take them within `request_timeout_seconds`.
        """
        refused: list[str] = []
        count = 0
        try:
            for result in results:
                self._producer.produce(
                    self._settings.topic_dq,
                    encode(result, schema_id=self._schema_id, schema=self._schema),
                    f"{result.table_name}/{result.check_name}".encode(),
                    on_delivery=lambda error, _: refused.append(error.str()) if error is not None else None,
                )
                count += 1
            waiting = self._producer.flush(self._settings.request_timeout_seconds)
        except KafkaException as error:
            raise translate(error, settings=self._settings, what=f"take results for {self._settings.topic_dq}") from error
        if waiting or refused:
            raise DependencyUnavailable(
                f"The Kafka broker at {self._settings.bootstrap_servers} did not take {waiting + len(refused)} of {count} "
                f"quality results within {self._settings.request_timeout_seconds:g} s: {'; '.join(sorted(set(refused)))}.",
                remedy="Publish them again when it is back; their result_id identifies repeats.",
                dependency="kafka",
            )
        return count


def read_results(settings: Settings, *, after: Mapping[int, int], limit: int) -> ResultBatch:
    """At most about `limit` results from the offsets in `after` (a Kafka partition without one: from its beginning).

    Bounded by the topic's end at the call, and commits nothing: the caller keeps `offsets`. Offsets that retention has
    removed are skipped.

    Raises:
        DependencyUnavailable: broker or registry do not answer.
    """
    messages, offsets = read_after(settings, settings.topic_dq, after=after, limit=limit)
    schemas: dict[int, Any] = {}
    if messages:
        versions = Registry(settings).versions(value_subject(settings.topic_dq))
        schemas = {schema_id: parse_schema(json.loads(text)) for schema_id, text in versions.items()}
    return ResultBatch([_decode(message, schemas) for message in messages], offsets)


def encode(result: DqResult, *, schema_id: int, schema: Any) -> bytes:
    """The result as a Kafka value: Avro in Confluent wire format."""
    buffer = io.BytesIO()
    schemaless_writer(buffer, schema, asdict(result))
    return frame(schema_id, buffer.getvalue())


def decode(value: bytes, schemas: Mapping[int, Any]) -> DqResult:
    """The result of a Kafka value; `schemas` holds the writer schemas by id. Fields of later versions are left out."""
    schema_id, body = unframe(value)
    fields: Any = schemaless_reader(io.BytesIO(body), schemas[schema_id], None)
    return DqResult(**{name: fields[name] for name in DqResult.__dataclass_fields__})


def _decode(message: Message, schemas: Mapping[int, Any]) -> DqResult:
    return decode(message.value() or b"", schemas)


def _newest_schema(settings: Settings) -> tuple[int, Any]:
    """The id and the schema that this version of the platform writes: registered when it is not yet."""
    ours = load_subject(settings.schemas_dir, DQ_SUBJECT_FOLDER)[-1]
    schema_id = Registry(settings).register(value_subject(settings.topic_dq), ours.text)
    return schema_id, parse_schema(json.loads(ours.text))
