"""Bronze's sink: learns the schemas that a batch names, decodes and judges it, appends it to the table, once.

Ids that the registry did not know are asked for again before each batch, after its offsets were fixed. A batch that names
an id of which nothing is known fails before its commit, is scanned for ids, and is decoded again with what the registry
answered. While new unknown ids keep coming, the scan comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.known_writers import KnownWriters
from rtap_assets.contracts.streams import BRONZE_SPEC
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import NATIVE_EPOCH_ID, NATIVE_QUERY_ID, ancestors, summary_value
from rtap_assets.quality.batch_counts import BRONZE_METRICS, bronze_counts
from rtap_assets.streaming.checkpoints.files import query_id, read_batch
from rtap_assets.streaming.checkpoints.topic_verification import TopicGuard
from rtap_assets.streaming.model.batch_metrics import BatchMetrics
from rtap_assets.streaming.queries.registered_schemas import WriterMemory
from rtap_assets.transforms.bronze import Limits, bronze_steps
from rtap_assets.transforms.decoding import writer_keys
from rtap_assets.transforms.decoding_faults import UNLISTED_WRITER
from rtap_assets.transforms.projections import Projections

SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property."
MOST_KEYS = 5_000
# A third of a second of one core.
SMALL_BATCH_RECORDS = 25_000


def bronze_sink(
    settings: Settings, checkpoint: Path, memory: WriterMemory, *, topic_epoch: int
) -> Callable[[DataFrame, int], None]:
    """Return the function that `foreachBatch` calls with each micro-batch of Kafka records."""
    return _BronzeSink(settings, checkpoint, memory, topic_epoch=topic_epoch).write


class _BronzeSink:
    def __init__(self, settings: Settings, checkpoint: Path, memory: WriterMemory, *, topic_epoch: int) -> None:
        self._settings, self._checkpoint, self._memory = settings, checkpoint, memory
        self._topic_epoch, self._topic = topic_epoch, TopicGuard(settings, BRONZE_SPEC)
        self._plans: dict[bool, tuple[tuple[KnownWriters, frozenset[str]], Projections]] = {}
        self._is_first = True

    def write(self, batch: DataFrame, batch_id: int) -> None:
        query = str(query_id(self._checkpoint))
        # Only the first batch after a start can be one that was committed before.
        if self._is_first and is_committed(self._settings, query=query, batch_id=batch_id):
            return
        # Offsets of a batch that was planned may be those of another topic by now.
        self._topic.verify()
        self._memory.check()
        self._memory.ask_again()
        if self._memory.expects_unknown or not self._append_if_known(batch, query, batch_id):
            self._append_after_scan(batch, query, batch_id)
        self._is_first = False

    def _append_if_known(self, batch: DataFrame, query: str, batch_id: int) -> bool:
        """Whether the batch names known schemas alone, and is appended."""
        try:
            self._append(batch, query, batch_id, settled=False)
        except (PySparkException, Py4JJavaError) as error:
            if UNLISTED_WRITER not in str(error):
                raise
            return False
        return True

    def _append_after_scan(self, batch: DataFrame, query: str, batch_id: int) -> None:
        batch.persist()
        try:
            keys = writer_keys(batch).orderBy(F.col("count").desc(), "writer_key").limit(MOST_KEYS).collect()
            self._memory.look_up({row["writer_key"]: row["count"] for row in keys})
            self._append(batch, query, batch_id, settled=True)
        finally:
            batch.unpersist()

    def _append(self, batch: DataFrame, query: str, batch_id: int, *, settled: bool) -> None:
        observation = Observation()
        records = batch.coalesce(1) if is_small(self._checkpoint, batch_id) else batch
        rows = self._projections(settled=settled).apply(records)
        # In the session of this query, since options lose the case of their names.
        batch.sparkSession.conf.set(SNAPSHOT_PROPERTY + NATIVE_QUERY_ID, query)
        batch.sparkSession.conf.set(SNAPSHOT_PROPERTY + NATIVE_EPOCH_ID, str(batch_id))
        table = f"{self._settings.catalog_name}.{BRONZE.identifier}"
        rows.observe(observation, *bronze_counts()).writeTo(table).append()
        BatchMetrics.put(query, batch_id, BRONZE_METRICS, observation.get)

    def _projections(self, *, settled: bool) -> Projections:
        """The columns for what is known now; made again only when something was learned."""
        known, absent = self._memory.known, frozenset() if settled else self._memory.absent
        plan = self._plans.get(settled)
        if plan is None or plan[0][0] is not known or plan[0][1] != absent:
            limits = Limits.of(self._settings)
            steps = bronze_steps(known, limits, settled=settled, absent=absent, topic_epoch=self._topic_epoch)
            plan = self._plans[settled] = ((known, absent), Projections(steps))
        return plan[1]


def is_small(checkpoint: Path, batch_id: int) -> bool:
    """Return whether one task writes the batch soon enough: then it makes one file, not one for each Kafka partition.

    By the offset log: a new Kafka partition counts with its whole offset. The first batch counts as large.
    """
    if not batch_id:
        return False
    before, after = (
        sum(int(offset) for ends in read_batch(checkpoint, one).source.values() for offset in ends.values())
        for one in (batch_id - 1, batch_id)
    )
    return after - before <= SMALL_BATCH_RECORDS


def is_committed(settings: Settings, *, query: str, batch_id: int) -> bool:
    """Return whether the newest snapshot that this query stamped holds this batch or a later one."""
    with open_catalog(settings) as catalog:
        for snapshot in ancestors(load_table(catalog, BRONZE.identifier)):
            if summary_value(snapshot, NATIVE_QUERY_ID) == query:
                return int(summary_value(snapshot, NATIVE_EPOCH_ID) or -1) >= batch_id
    return False
