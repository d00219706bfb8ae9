"""The record of corrections: what was changed in silver after its stream had written it, why, and what it did to gold.

Data only. A correction is written down before anything is changed (`planned` and its `row`s), and ended by `done` with the
`window`s of gold that it restated; one that has no end is pending and is finished by the next run.
"""

from __future__ import annotations

from enum import StrEnum

from rtap_assets.contracts.tables import MONEY, REVENUE_MEASURES, Column, TableSpec


class Cause(StrEnum):
    """Why rows of silver were added or removed."""

    LATE = "late"
    LATER_COPY = "later_copy"
    REJUDGED = "rejudged"
    ERASED = "erased"
    FOREIGN = "foreign"


class Entry(StrEnum):
    """What an entry of the record says."""

    PLANNED = "planned"
    ROW = "row"
    AMOUNT = "amount"
    WINDOW = "window"
    DONE = "done"
    ABANDONED = "abandoned"


class Change(StrEnum):
    """What happens to a row."""

    ADD = "add"
    REMOVE = "remove"


CORRECTIONS = TableSpec(
    namespace="quality",
    name="corrections",
    view="corrections",
    doc="Every change of silver after its stream had written it: what, why, by which run, and the windows of gold restated.",
    grain="one entry of one correction: its plan, a row, an erased amount, a restated window, or its end",
    key=(),
    partition="",
    columns=(
        Column("correction_id", "string", "Identity of the correction; the snapshots that it made carry it."),
        Column("entry", "string", "planned, row, amount, window, done or abandoned."),
        Column("cause", "string", "late, later_copy, rejudged, erased or foreign."),
        Column("action", "string", "add or remove, for a row; null otherwise."),
        Column("why", "string", "The finding in a sentence."),
        Column("run_id", "string", "The run that did it."),
        Column("requested_by", "string", "Who asked for it: schedule, the command, or a name."),
        Column("recorded_at", "timestamp", "When the entry was written, UTC."),
        Column("event_id", "string", "The event of a row; null for an erased one."),
        Column("topic", "string", "Kafka topic of the row's record."),
        Column("topic_epoch", "int", "How often the topic had been made again under its name."),
        Column("kafka_partition", "int", "Kafka partition of the row's record."),
        Column("kafka_offset", "bigint", "Kafka offset of the row's record."),
        Column("event_time", "timestamp", "Event time of a row, UTC; null for an erased one."),
        Column("event_type", "string", "Event type of a row; null for an erased one."),
        Column("plan_tier", "string", "Plan tier of a row, amount or window."),
        Column("region", "string", "Region of a row, amount or window."),
        Column("currency", "string", "ISO 4217 code of the amounts."),
        Column("net_amount", MONEY, "Signed amount of a row in `currency`; null for an erased one."),
        Column("window_start", "timestamp", "Start of a restated window, or of the slide that erased amounts lay in, UTC."),
        Column("window_end", "timestamp", "End of the restated window or of the slide, exclusive, UTC."),
        *(
            Column(f"{side}_{one.name}", one.type, f"{one.name} of the window {when} the change; `from`: of erased rows.")
            for side, when in (("from", "before"), ("to", "after"))
            for one in REVENUE_MEASURES
        ),
        Column("revision", "int", "Revision of the restated window."),
        Column("rows_added", "bigint", "Rows added to silver; in the plan and at the end."),
        Column("rows_removed", "bigint", "Rows removed from silver; in the plan and at the end."),
        Column("bronze_rows_removed", "bigint", "Rows removed from bronze by an erasure; in the plan and at the end."),
        Column("subject_hash", "string", "Salted hash of an erased account, so that the same request can be recognized."),
    ),
)  # fmt: skip
