"""The producer of `examples/`, with a real broker and registry: what it sends is an event of the contract."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from decimal import Decimal

from fastavro import parse_schema, schemaless_reader

from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.contracts.avro.wire import unframe
from rtap_assets.kafka.bounded_read import read_committed
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.registry.client import Registry
from rtap_assets.registry.registration import register_contracts

SEND_SECONDS = 60


def test_an_own_event_is_one_record_with_the_newest_schema_and_the_exact_amount(settings: Settings) -> None:
    register_contracts(settings)
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "examples" / "own_event.py"), "19.99", "USD"],
        env=os.environ
        | {
            "RTAP_KAFKA_BOOTSTRAP": settings.bootstrap_servers,
            "RTAP_REGISTRY_URL": settings.schema_registry_url,
            "RTAP_TOPIC_EVENTS": settings.topic_events,
        },
        capture_output=True,
        text=True,
        timeout=SEND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ends = end_offsets(settings, settings.topic_events)
    records = [
        message
        for partition, end in ends.items()
        for batch in read_committed(settings, settings.topic_events, partition, start=0, end=end)
        for message in batch
    ]
    (record,) = records
    assert record.key() == b"tutorial-account"
    schema_id, avro = unframe(record.value())
    version, text = max(Registry(settings).versions(settings.events_subject).items())
    assert version == 2
    event = schemaless_reader(io.BytesIO(avro), parse_schema(json.loads(text)))
    assert schema_id is not None
    assert event["amount"] == Decimal("19.9900")
    assert f"sent: {event['event_id']}" in done.stdout
