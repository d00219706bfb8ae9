"""Goes on with a stream's topic after it was made again, truncated, or cut short by retention: a recorded decision.

The stream's checkpoint is put aside and a new one prepared that begins at stated offsets; what is lost is written down
first. The plan is on disk before its first step: killed between any two steps, the same command finishes it, and the stream
does not start meanwhile. The streams below follow its table, and notice nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import GapKind, OffsetGap
from rtap_assets.contracts.streams import BRONZE_SPEC, StreamSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.snapshots import newest_stream_commit
from rtap_assets.lake.offset_gaps import record_gaps
from rtap_assets.runtime.clock import utc_now
from rtap_assets.runtime.files import sync_folder, write_json
from rtap_assets.streaming.checkpoints.files import newest_committed, query_id, read_batch
from rtap_assets.streaming.checkpoints.topic_binding import (
    ClosedQuery,
    TopicBinding,
    by_partition,
    plan_file,
    read_binding,
    read_json,
    write_binding,
)
from rtap_assets.streaming.checkpoints.topic_facts import TopicFacts, topic_facts
from rtap_assets.streaming.checkpoints.topic_verification import replaced_partitions, topics_command, verify_facts

ARCHIVE_FOLDER = "archive"
Step = tuple[str, Callable[[], object]]


@dataclass(frozen=True)
class Continuation:
    """The plan. `lost`: Kafka partition -> first and last offset that can no longer be read."""

    topic: str
    old_topic_id: str | None
    new_topic_id: str | None
    old_epoch: int
    new_epoch: int
    query_id: str | None
    batch_id: int
    positions: Mapping[int, int]
    starting_offsets: Mapping[int, int]
    lost: Mapping[int, tuple[int, int]]
    archive: str
    planned_at: str
    stream: str = BRONZE_SPEC.name

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        offsets = {name: by_partition(document[name]) for name in ("positions", "starting_offsets")}
        lost = {int(partition): (int(one[0]), int(one[1])) for partition, one in document["lost"].items()}
        return cls(**dict(document) | offsets | {"lost": lost})

    @property
    def lost_records(self) -> int:
        return sum(last - first + 1 for first, last in self.lost.values())

    def sentences(self) -> list[str]:
        """Return what will be done, in the order of the steps."""
        offsets = ", ".join(f"{partition}: {offset}" for partition, offset in sorted(self.starting_offsets.items()))
        lines = [
            f"{self.stream} has read {self.topic} up to "
            f"{', '.join(f'{partition}: {offset}' for partition, offset in sorted(self.positions.items())) or 'nothing'} "
            f"(Kafka partition: next offset), in epoch {self.old_epoch} of the topic.",
        ]
        for partition, (first, last) in sorted(self.lost.items()):
            lines.append(
                f"Kafka partition {partition}, offsets {first} to {last} ({last - first + 1:,}) are written to "
                "quality.offset_gaps as lost."
            )
        if self.new_epoch != self.old_epoch:
            lines.append(
                f"The topic is taken as new (id {self.old_topic_id} -> {self.new_topic_id}): its rows get topic_epoch "
                f"{self.new_epoch}. What the old one held past the offsets above was never read, and cannot be counted."
            )
        lines.append(f"The checkpoint of {self.stream} is moved to {ARCHIVE_FOLDER}/{self.archive}; no row is changed.")
        lines.append(
            f"{self.stream.capitalize()} begins a new checkpoint at {offsets} (Kafka partition: offset) when it is started."
        )
        return lines


def plan_continuation(settings: Settings, stream: StreamSpec, *, accept_loss: bool, new_topic: bool) -> Continuation:
    """Return what `continue_with` would do; changes nothing. A plan that was begun is returned as it is.

    Raises:
        StreamError: nothing is wrong, or what is wrong is not what was agreed to.
        DependencyUnavailable, ConfigurationError: as `topic_facts`.
    """
    begun = read_json(plan_file(stream.checkpoint(settings)))
    if begun is not None:
        return Continuation.from_json(begun)
    facts = topic_facts(settings, stream)
    is_new = bool(facts.is_other_topic or facts.truncated or replaced_partitions(settings, stream, facts))
    if not is_new and not facts.lost:
        raise StreamError(
            f"Nothing has to be continued: {facts.topic} is the topic that {stream.name} has read, and has what comes next.",
            remedy=f"`{topics_command(stream.name, 'status')}` shows both; `rtap streams start {stream.name}` starts it.",
        )
    if (is_new and not new_topic) or (not is_new and not accept_loss):
        _refuse(facts, "--new-topic" if is_new else "--accept-loss")
    closing = _closing(settings, stream, facts)
    starting = (
        dict(facts.beginnings)
        if is_new
        else {partition: max(closing[2].get(partition, 0), beginning) for partition, beginning in facts.beginnings.items()}
    )
    lost = (
        {partition: (0, offset - 1) for partition, offset in starting.items() if offset > 0}
        if is_new
        else {
            partition: (position, starting[partition] - 1)
            for partition, position in closing[2].items()
            if position < starting.get(partition, 0)
        }
    )
    epoch, now = 0 if facts.binding is None else facts.binding.topic_epoch, utc_now()
    return Continuation(
        topic=facts.topic,
        old_topic_id=None if facts.binding is None else facts.binding.topic_id,
        new_topic_id=facts.found.topic_id,
        old_epoch=epoch,
        new_epoch=epoch + 1 if is_new else epoch,
        query_id=closing[0],
        batch_id=closing[1],
        positions=closing[2],
        starting_offsets=starting,
        lost=lost,
        archive=f"{stream.name}-{now:%Y%m%dT%H%M%SZ}",
        planned_at=now.isoformat(),
        stream=stream.name,
    )


def continue_with(settings: Settings, plan: Continuation, *, echo: Callable[[str], None] = lambda _: None) -> None:
    """Carry the plan out; every step may be repeated. The caller sees to it that the stream's query does not run.

    Raises:
        StreamError: the checkpoint is not the one that the plan was made for.
        DependencyUnavailable: the catalog did not answer; run it again.
    """
    for what, step in steps_of(settings, plan):
        step()
        echo(what)


def steps_of(settings: Settings, plan: Continuation) -> list[Step]:
    """Return the steps in their order."""
    checkpoint = settings.checkpoint_dir / plan.stream
    return [
        ("the plan is written down", lambda: write_json(plan_file(checkpoint), asdict(plan), durable=True, default=str)),
        (f"{plan.lost_records:,} offsets are recorded as lost", lambda: record_gaps(settings, _gaps(plan))),
        ("the checkpoint is put aside", lambda: _archive(checkpoint, plan)),
        ("the topic is bound", lambda: write_binding(checkpoint, _binding(checkpoint, plan))),
        ("done", lambda: _finish(checkpoint)),
    ]


def _closing(settings: Settings, stream: StreamSpec, facts: TopicFacts) -> tuple[str | None, int, Mapping[int, int]]:
    """Return the query that ends here, its newest batch, and where that batch ends: as the table and the checkpoint know it.

    A batch that was planned may be in the table and not yet in the log of commits.
    """
    checkpoint = stream.checkpoint(settings)
    own_id, commit = query_id(checkpoint), None
    if stream.writes is not None:
        with open_catalog(settings) as catalog:
            commit = newest_stream_commit(load_table(catalog, stream.writes.identifier))
    if own_id is None:
        newest = facts.binding.closed[-1] if facts.binding is not None and facts.binding.closed else None
        return (None, -1, facts.positions) if newest is None else (newest.query_id, newest.batch_id, facts.positions)
    in_table = commit.epoch_id if commit is not None and commit.query_id == own_id else None
    committed = newest_committed(checkpoint)
    batches = [batch for batch in (in_table, committed) if batch is not None]
    if not batches:
        return own_id, -1, facts.positions
    read = by_partition(read_batch(checkpoint, max(batches)).source.get(facts.topic, {}))
    return own_id, max(batches), read


def _refuse(facts: TopicFacts, option: str) -> None:
    again = f"{topics_command(facts.stream, 'continue')} {option}"
    try:
        verify_facts(facts)
    except StreamError as error:
        raise StreamError(error.message, remedy=f"To go on, say `{again}`.") from error
    message = f"The topic {facts.topic} holds other records than {facts.stream} has read from it."
    raise StreamError(message, remedy=f"To go on, say `{again}`.")


def _gaps(plan: Continuation) -> list[OffsetGap]:
    return [
        OffsetGap(
            topic=plan.topic,
            topic_epoch=plan.new_epoch,
            kafka_partition=partition,
            first_offset=first,
            last_offset=last,
            records=last - first + 1,
            kind=GapKind.LOST.value,
            detail=f"gone before {plan.stream} read them; accepted by `rtap topics continue`, planned at {plan.planned_at}",
        )
        for partition, (first, last) in sorted(plan.lost.items())
    ]


def _archive(source: Path, plan: Continuation) -> None:
    target = source.parent / ARCHIVE_FOLDER / plan.archive
    if target.exists() or not source.exists():
        return  # done before
    if plan.query_id is not None and query_id(source) not in {plan.query_id, None}:
        raise StreamError(
            f"The checkpoint {source} belongs to another query than the plan was made for.",
            remedy=f"Look at {plan_file(source)}; remove it to plan again.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def _binding(checkpoint: Path, plan: Continuation) -> TopicBinding:
    before = read_binding(checkpoint)
    closed = () if before is None else before.closed
    if plan.query_id is not None and not any(one.closed_at == plan.planned_at for one in closed):
        one = ClosedQuery(plan.query_id, plan.batch_id, plan.old_topic_id, plan.old_epoch, plan.positions, plan.planned_at)
        closed = (*closed, one)
    return TopicBinding(plan.topic, plan.new_topic_id, plan.new_epoch, plan.planned_at, plan.starting_offsets, closed)


def _finish(checkpoint: Path) -> None:
    plan_file(checkpoint).unlink(missing_ok=True)
    sync_folder(checkpoint.parent)
