"""The streams, described once, without Spark: what each reads and writes, how often, and what it leaves to see.

Data only. `streaming/queries/definitions.py` adds the query of each; the command line, the host, Dagster's assets, launchpad
and checks, maintenance and the settings `RTAP_TRIGGER_<NAME>_SECONDS` follow from the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TableSpec
from rtap_assets.contracts.topics import DLQ_TOPIC, EVENTS_TOPIC, REVENUE_TOPIC, Topic

if TYPE_CHECKING:
    from rtap_assets.config import Settings


@dataclass(frozen=True)
class StreamSpec:
    """One stream: it follows the table or topic `reads`, and fills the table `writes`, publishes to a topic, or both.

    `drops_late`: it drops rows that are older than its watermark. `has_watermark`: materializations show its watermark.
    `trigger_seconds_default` is the default of the setting `trigger_<name>_seconds`.
    """

    name: str
    reads: TableSpec | Topic
    writes: TableSpec | None
    publishes: Topic | None = None
    drops_late: bool = False
    has_watermark: bool = False
    trigger_seconds_default: float = 5

    @property
    def reads_kafka(self) -> bool:
        """Whether the stream follows a topic, and not a table."""
        return isinstance(self.reads, Topic)

    @property
    def target(self) -> TableSpec | Topic:
        """What a materialization of the stream completes: its table, or its topic where it fills none."""
        target = self.writes or self.publishes
        assert target is not None, f"the stream {self.name} in contracts/streams.py writes neither a table nor a topic"
        return target

    def checkpoint(self, settings: Settings) -> Path:
        """Return the folder of the stream's checkpoint."""
        return settings.checkpoint_dir / self.name

    def topic_in(self, settings: Settings) -> str:
        """Return the name on the broker of the topic that the stream follows."""
        assert isinstance(self.reads, Topic), f"the stream {self.name} follows a table"
        return self.reads.name_in(settings)


# In the order of the flow: a stream is drained after those that fill what it reads.
STREAM_SPECS = (
    StreamSpec("bronze", EVENTS_TOPIC, BRONZE, trigger_seconds_default=1),
    StreamSpec("dlq", BRONZE, None, publishes=DLQ_TOPIC),
    # Soon after each commit of bronze: to ask for one costs milliseconds.
    StreamSpec("silver", BRONZE, SILVER, drops_late=True, has_watermark=True, trigger_seconds_default=0.25),
    StreamSpec("gold", SILVER, GOLD, publishes=REVENUE_TOPIC, has_watermark=True, trigger_seconds_default=10),
)
STREAM_NAMES = tuple(spec.name for spec in STREAM_SPECS)
BRONZE_SPEC = STREAM_SPECS[0]


def stream_named(name: str) -> StreamSpec:
    """Return the stream of this name."""
    return next(spec for spec in STREAM_SPECS if spec.name == name)


def stream_filling(table: TableSpec) -> StreamSpec:
    """Return the stream that fills a table."""
    return next(spec for spec in STREAM_SPECS if spec.writes == table)
