"""One table, stream, source, mart, check and column of gold that the platform lacks, as edits to a copy of its source.

`ADDITIONS` are the edits that `CONTRIBUTING.md` lists. `copy_with` makes the copy, and `run_in` runs a probe in it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtap_assets.config import PROJECT_ROOT

PROBE_SECONDS = 240
SUBJECT = "rtap_assets/schemas/sales.agg.revenue_5m.v1-value"


def _next_schema() -> str:
    """Return the next version of the schema of gold's messages, with the added column."""
    schema = json.loads((PROJECT_ROOT / SUBJECT / "1.avsc").read_text(encoding="utf-8"))
    names = [field["name"] for field in schema["fields"]]
    added = {"name": "upgrades", "type": "long", "default": 0, "doc": "Number of upgrades."}
    schema["fields"].insert(names.index("refunds") + 1, added)
    return json.dumps(schema, indent=2) + "\n"


NEXT_SCHEMA = _next_schema()


@dataclass(frozen=True)
class Edit:
    """`new` in place of `old`, which the file holds once; with an empty `old`, the whole of a new file."""

    path: str
    old: str
    new: str


TABLE = (
    Edit(
        "rtap_assets/contracts/tables.py",
        "# In the order of the flow: a table comes after those that it is made from.\nTABLES = (BRONZE, SILVER, GOLD)",
        """REVENUE_1H = replace(GOLD, name="revenue_1h", view="gold_1h", doc="Revenue per hour.")
TABLES = (BRONZE, SILVER, GOLD, REVENUE_1H)""",
    ),
    Edit("rtap_assets/contracts/tables.py", "import dataclass, field", "import dataclass, field, replace"),
    Edit(
        "rtap_assets/contracts/streams.py",
        ")\nSTREAM_NAMES = ",
        '    StreamSpec("gold_1h", SILVER, REVENUE_1H, has_watermark=True),\n)\nSTREAM_NAMES = ',
    ),
    Edit("rtap_assets/contracts/streams.py", "import BRONZE, GOLD, ", "import BRONZE, GOLD, REVENUE_1H, "),
    Edit(
        "rtap_assets/streaming/queries/revenue_windows.py",
        '{"gold": revenue_5m}',
        '{"gold": revenue_5m, "gold_1h": lambda settings: RevenueWindows(REVENUE_1H, 3_600, 3_600)}',
    ),
    Edit("rtap_assets/streaming/queries/revenue_windows.py", "import GOLD, ", "import GOLD, REVENUE_1H, "),
)
STREAM = (
    Edit(
        "rtap_assets/contracts/topics.py",
        "\nTOPICS = (",
        """
REFUNDS_TOPIC = Topic(asset="refunds", name="sales.refunds.v1", doc="Refunds of silver, one message each.")
TOPICS = (REFUNDS_TOPIC, """,
    ),
    Edit(
        "rtap_assets/contracts/streams.py",
        ")\nSTREAM_NAMES = ",
        """    StreamSpec("refunds", SILVER, None, publishes=REFUNDS_TOPIC, trigger_seconds_default=30),
)
STREAM_NAMES = """,
    ),
    Edit("rtap_assets/contracts/streams.py", "import DLQ_TOPIC, ", "import DLQ_TOPIC, REFUNDS_TOPIC, "),
    Edit(
        "rtap_assets/streaming/queries/definitions.py",
        "WRITERS: dict[str, Writer] = {\n",
        """def refunds_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    refunds = _follow(session, settings, SILVER).where("event_type = 'refund'")
    messages = refunds.selectExpr("CAST(event_id AS BINARY) AS key", "CAST(amount AS STRING) AS value")
    topic = REFUNDS_TOPIC.name_in(settings)
    return messages.writeStream.format("kafka").options(**spark_sink_options(settings)).option("topic", topic)


WRITERS: dict[str, Writer] = {
    "refunds": refunds_writer,
""",
    ),
    Edit(
        "rtap_assets/streaming/queries/definitions.py",
        "from rtap_assets.kafka.clients import spark_source_options\n",
        "from rtap_assets.contracts.topics import REFUNDS_TOPIC\n"
        "from rtap_assets.kafka.clients import spark_sink_options, spark_source_options\n",
    ),
)
# Events of another system: a topic that a stream of its own follows, into a table that keeps each record with its place.
SOURCE_TABLE = (
    Edit(
        "rtap_assets/contracts/tables.py",
        "\nTABLES = (BRONZE",
        """
TICKETS = TableSpec(
    namespace="bronze",
    name="tickets",
    view="tickets",
    doc="Support tickets, as their topic holds them.",
    grain="one Kafka record",
    key=("topic", "kafka_partition", "kafka_offset"),
    partition="days(kafka_timestamp)",
    columns=(
        *(column for column in KAFKA_COLUMNS if column.name != "schema_id"),
        Column("raw_key", "binary", "The record's key."),
        Column("raw_value", "binary", "The record's value."),
    ),
)
TABLES = (TICKETS, BRONZE""",
    ),
)
SOURCE = (
    Edit(
        "rtap_assets/contracts/topics.py",
        "\nTOPICS = (",
        """
TICKETS_TOPIC = Topic(asset="tickets", name="support.tickets.v1", doc="Support tickets.", is_source=True)
TOPICS = (TICKETS_TOPIC, """,
    ),
    Edit(
        "rtap_assets/contracts/streams.py",
        ")\nSTREAM_NAMES = ",
        """    StreamSpec("tickets", TICKETS_TOPIC, TICKETS, trigger_seconds_default=1),
)
STREAM_NAMES = """,
    ),
    Edit("rtap_assets/contracts/streams.py", "REVENUE_TOPIC, Topic", "REVENUE_TOPIC, TICKETS_TOPIC, Topic"),
    Edit("rtap_assets/contracts/streams.py", "SILVER, TableSpec", "SILVER, TICKETS, TableSpec"),
    Edit(
        "rtap_assets/streaming/queries/definitions.py",
        "WRITERS: dict[str, Writer] = {\n",
        """def tickets_writer(session: SparkSession, settings: Settings) -> DataStreamWriter:
    stream = STREAMS["tickets"]
    records = kafka_records(session, settings, stream).selectExpr(
        "topic", f"{topic_epoch(settings, stream)} AS topic_epoch", "partition AS kafka_partition", "offset AS kafka_offset",
        "timestamp AS kafka_timestamp", "key AS raw_key", "value AS raw_value",
    )
    return records.writeStream.format("iceberg").option("path", f"{settings.catalog_name}.{stream.writes.identifier}")


WRITERS: dict[str, Writer] = {
    "tickets": tickets_writer,
""",
    ),
)
MART = (
    Edit(
        "rtap_assets/serving/marts.py",
        '    MartSpec("refund_share", periods=Periods("hour", of=GOLD)),\n',
        '    MartSpec("refund_share", periods=Periods("hour", of=GOLD)),\n    MartSpec("sales"),\n',
    ),
    Edit(
        "rtap_assets/serving/sql/sales.sql",
        "",
        """-- Sales by currency.
-- Grain: one currency.
-- Units: amounts are decimals in `currency`.
CREATE TABLE sales AS SELECT currency, sum(net_amount) AS net_amount FROM tumbling_revenue GROUP BY currency;
""",
    ),
)
CHECK = (
    Edit(
        "rtap_assets/quality/catalog.py",
        "\nCHECKS = {",
        """
PASS_CHECKS += (
    CheckSpec("negative_net", GOLD, W, "dq_max_negative_windows", "Windows whose net amount is below zero."),
)
CHECKS = {""",
    ),
    Edit(
        "rtap_assets/quality/sql/negative_net.sql",
        "",
        """SELECT count(*) AS rows_checked, count(*) FILTER (WHERE net_amount < 0) AS rows_failed,
    rows_failed::DOUBLE AS observed, {'why': 'refunds'} AS detail FROM gold;
""",
    ),
    Edit(
        "rtap_assets/settings/quality.py",
        "    dq_lookback_hours: float",
        '    dq_max_negative_windows: int = Field(0, ge=0, description="Windows with a negative net amount.")\n'
        "    dq_lookback_hours: float",
    ),
)
COLUMN = (
    Edit(
        "rtap_assets/contracts/tables.py",
        '    Column("refunds", "bigint", "Number of refunds."),\n',
        '    Column("refunds", "bigint", "Number of refunds."),\n    Column("upgrades", "bigint", "Number of upgrades."),\n',
    ),
    Edit(
        "rtap_assets/transforms/gold.py",
        '        "refunds": F.count(F.when(refund, 1)),\n',
        '        "refunds": F.count(F.when(refund, 1)),\n'
        '        "upgrades": F.count(F.when(F.col("event_type") == "upgrade", 1)),\n',
    ),
    Edit(f"{SUBJECT}/2.avsc", "", NEXT_SCHEMA),
)
ADDITIONS = {
    "a table": TABLE,
    "a stream": STREAM,
    "a source": SOURCE,
    "a mart": MART,
    "a check": CHECK,
    "a column of gold": COLUMN,
}


def copy_with(folder: Path, edits: Iterable[Edit]) -> Path:
    """Copy the package, make the edits, return the copy's root."""
    root = folder / "copy"
    # With bytecode, which an edit outdates; but not what another process is just writing of it.
    shutil.copytree(PROJECT_ROOT / "rtap_assets", root / "rtap_assets", ignore=shutil.ignore_patterns("*.pyc.*"))
    for edit in edits:
        path = root / edit.path
        text = path.read_text(encoding="utf-8") if edit.old else ""
        assert not edit.old or text.count(edit.old) == 1, f"{edit.path} does not hold once: {edit.old}"
        path.write_text(text.replace(edit.old, edit.new) if edit.old else edit.new, encoding="utf-8")
    return root


def run_in(root: Path, probe: str, state_dir: Path, **environment: str) -> dict[str, Any]:
    """Run a module of `tests/support` on the copy; return the JSON object that it prints last."""
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", str(PROJECT_ROOT / "tests" / "support" / f"{probe}.py")],
        env=os.environ
        | {"PYTHONPATH": str(root), "RTAP_STATE_DIR": str(state_dir), "PYTHONDONTWRITEBYTECODE": "1"}
        | environment,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=PROBE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["package"] == str(root / "rtap_assets" / "__init__.py"), "the probe must see the copy"
    return found
