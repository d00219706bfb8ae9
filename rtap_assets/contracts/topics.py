"""The Kafka topics of the platform, described once: name, meaning, configuration, schemas.

Data only. `kafka/topics.py` creates the topics, `registry/registration.py` registers their schemas, Dagster shows them. The
two topics of redrives are created on first use and are no part of the flow (`kafka/topics.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rtap_assets.contracts.avro.schemas import DQ_SUBJECT_FOLDER, EVENTS_SUBJECT_FOLDER, REVENUE_SUBJECT_FOLDER
from rtap_assets.contracts.tables import EVENT_COLUMNS, GOLD, Column

if TYPE_CHECKING:
    from rtap_assets.config import Settings

DAY_MS = 86_400_000
# A dead letter carries its context in headers, so that no record is too large to be quarantined.
DLQ_HEADER_BYTES = 65_536


@dataclass(frozen=True)
class Topic:
    """One topic. `asset` is the last part of its asset key; its name is a setting's value, or fixed.

    `config` are the broker's settings that must hold. `spare_bytes` is by how many bytes a record may exceed the largest
    event (None: the broker's own limit holds). `schemas` is the folder below `schemas/` with the versions of its values,
    registered under the subject `<topic>-value`.
    """

    asset: str
    doc: str
    setting: str = ""
    name: str = ""
    columns: tuple[Column, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    spare_bytes: int | None = None
    schemas: str = ""
    is_source: bool = False

    def name_in(self, settings: Settings) -> str:
        """Return the topic's name on the broker."""
        return str(getattr(settings, self.setting)) if self.setting else self.name

    def config_in(self, settings: Settings) -> dict[str, str]:
        """Return the configuration with which the topic is created."""
        if self.spare_bytes is None:
            return dict(self.config)
        return {"max.message.bytes": str(settings.topic_max_message_bytes + self.spare_bytes), **self.config}


EVENTS_TOPIC = Topic(
    asset="sales_events",
    setting="topic_events",
    doc="Sales events as producers send them: Avro in the registry's wire format, keyed by account_id.",
    columns=EVENT_COLUMNS,
    # Event times are judged against this timestamp, so it must be the broker's and not a producer's claim.
    config={"message.timestamp.type": "LogAppendTime", "retention.ms": str(7 * DAY_MS)},
    spare_bytes=0,
    schemas=EVENTS_SUBJECT_FOLDER,
    is_source=True,
)
DLQ_TOPIC = Topic(
    asset="sales_events_dlq",
    setting="topic_dlq",
    doc="The dead-letter topic: bronze's quarantined records with their original bytes, the context in headers. "
    "At least once; topic, Kafka partition and offset in the headers identify a record, so that repeats can be dropped.",
    columns=(
        Column("key", "binary", "The record's key, unchanged."),
        Column("value", "binary", "The record's value, unchanged; null for a tombstone."),
        Column(
            "headers",
            "array<struct<key:string,value:binary>>",
            "The record's own headers, then reason, detail, topic, partition, offset, timestamp, schema.id and attempts, "
            "each after `rtap.dlq.`.",
        ),
    ),
    config={"retention.ms": str(30 * DAY_MS)},
    spare_bytes=DLQ_HEADER_BYTES,
)
REVENUE_TOPIC = Topic(
    asset="revenue_5m_agg",
    setting="topic_revenue",
    doc="Gold's windows as Avro messages; the latest per key is the valid one. Gold's stream publishes each batch here "
    "before it commits it to the table.",
    columns=GOLD.columns,
    config={"cleanup.policy": "compact"},
    schemas=REVENUE_SUBJECT_FOLDER,
)
DQ_TOPIC = Topic(
    asset="dq_results",
    setting="topic_dq",
    doc="Results of data-quality checks as Avro messages, keyed by table and check.",
    schemas=DQ_SUBJECT_FOLDER,
)

TOPICS = (EVENTS_TOPIC, DLQ_TOPIC, REVENUE_TOPIC, DQ_TOPIC)
