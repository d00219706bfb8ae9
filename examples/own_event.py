"""Send one sale of your own: a plain producer with Confluent's serializer, nothing of rtap in it.

.venv/bin/python examples/own_event.py 19.99 USD
"""

from __future__ import annotations

import os
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

BROKER = os.environ.get("RTAP_KAFKA_BOOTSTRAP") or "127.0.0.1:19092"
REGISTRY = os.environ.get("RTAP_REGISTRY_URL") or "http://127.0.0.1:18081/apis/ccompat/v7"
TOPIC = os.environ.get("RTAP_TOPIC_EVENTS") or "sales.events.v1"


def sale(amount: str, currency: str) -> dict[str, object]:
    """Return a purchase that happened just now; the amount is exact, with four decimals."""
    now = datetime.now(UTC)
    return {
        "event_id": str(uuid.uuid4()),
        "event_time": now,
        "ingest_time": now,
        "schema_version": 2,
        "event_type": "purchase",
        "account_id": "tutorial-account",
        "plan_tier": "pro",
        "region": "emea",
        "product_id": "tutorial",
        "quantity": 1,
        "amount": Decimal(amount).quantize(Decimal("0.0001")),
        "currency": currency,
        "promo_code": None,
        "sales_channel": "tutorial",
    }


def main(amount: str, currency: str) -> None:
    """Send it, and wait for the broker's word."""
    registry = SchemaRegistryClient({"url": REGISTRY})
    schema = registry.get_latest_version(f"{TOPIC}-value").schema
    serialize = AvroSerializer(
        registry, schema.schema_str, conf={"auto.register.schemas": False, "use.latest.version": True}
    )
    event = sale(amount, currency)
    producer = Producer({"bootstrap.servers": BROKER, "enable.idempotence": True})
    key, value = str(event["account_id"]).encode(), serialize(event, SerializationContext(TOPIC, MessageField.VALUE))
    producer.produce(TOPIC, key=key, value=value)
    left = producer.flush(30)
    print("not acknowledged within 30 s" if left else f"sent: {event['event_id']}")
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ("19.99", "USD")))
