"""`rtap demo` in small, through the real command: what a newcomer sees, and that its proof notices damage."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import psutil
import pytest

from rtap_assets.config import Settings, load_settings, settings_environment
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.options import TRANSACTION_EVENTS
from rtap_assets.local.ports import free_ports
from rtap_assets.local.stack import down, up
from rtap_assets.local.status import status
from rtap_assets.serving.lake_files import plan_lake

EVENTS = 20_000
DEMO_SECONDS = 420
COMMAND_SECONDS = 120
WIDE_ENOUGH = {"COLUMNS": "160"}  # so that no line of a table is broken


def rtap(settings: Settings, *arguments: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rtap_assets.cli", *arguments],
        env=os.environ | settings_environment(settings) | WIDE_ENOUGH,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(state_dir=tmp_path_factory.mktemp("demo") / ".rtap", spark_driver_memory="1g")


@pytest.fixture(scope="module")
def demo(settings: Settings) -> subprocess.CompletedProcess[str]:
    """The finished `rtap demo`; in a fresh state folder, with nothing running."""
    return rtap(settings, "demo", "--details", "--events", str(EVENTS), seconds=DEMO_SECONDS)


@pytest.fixture
def left_behind(settings: Settings, demo: subprocess.CompletedProcess[str], tmp_path: Path) -> Settings:
    """The lake and the ledger that the demo left."""
    return settings.model_copy(update={"state_dir": settings.state_dir / "demo"})


def counts(output: str) -> dict[str, str]:
    """Line of the reconciliation that holds -> its value."""
    found = re.findall(r"✓ (.+?)  +(-?[\d,.]+)", output)
    return {name: value.replace(",", "") for name, value in found}


def test_the_demo_reconciles_every_line_and_exits_with_0(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stdout
    assert "✗" not in demo.stdout
    assert "Every line holds." in demo.stdout
    held = counts(demo.stdout)
    assert held["records of the topic = rows of bronze"] == str(EVENTS + TRANSACTION_EVENTS)
    assert held.keys() >= {"valid rows read = silver + copies + late", "verdict: equal", "values: ledger = silver"}
    corrected = re.search(r"late, corrected +([\d,]+)", demo.stdout)
    late = int(held.get("late = older than the watermark", "0"))
    assert late + (int(corrected[1].replace(",", "")) if corrected else 0) > 0


def test_the_demo_shows_revenue_and_the_dead_letters_by_reason(
    demo: subprocess.CompletedProcess[str], left_behind: Settings
) -> None:
    assert "Revenue by plan, refunds subtracted" in demo.stdout
    with duckdb.connect(str(left_behind.marts_path), read_only=True) as connection:
        letters = dict(connection.execute("SELECT reason, records FROM dlq_by_reason").fetchall())
        currencies = connection.execute("SELECT DISTINCT currency FROM rolling_revenue").fetchall()
    details = demo.stdout.split("\nDetails\n")[1].split("\nTopic = bronze\n")[0]
    shown = {name: int(count.replace(",", "")) for count, name in re.findall(r"^ +([\d,]+)  (\w+) ", details, re.MULTILINE)}
    assert shown == letters
    assert letters.keys() <= set(Reason)
    held = counts(demo.stdout)
    assert int(held["quarantined = dead letters, by identity"]) == sum(letters.values())
    assert held.keys() >= {f"net {currency}: silver = gold" for (currency,) in currencies}


def test_the_demo_ends_with_a_picture_in_80_columns_and_the_command_that_opens_it(
    demo: subprocess.CompletedProcess[str], left_behind: Settings
) -> None:
    picture = demo.stdout.split("\nWhat happened\n")[1]
    assert max(len(line) for line in picture.splitlines() if "RTAP_STATE_DIR" not in line) <= 80
    for text in ("Pipeline, layer by layer", "Refused: ", "Data quality: ", "✓ Every window of gold is the sum"):
        assert text in picture
    assert f"RTAP_STATE_DIR={left_behind.state_dir} rtap up --ui --streams" in picture


def test_silver_had_at_least_eight_batches(left_behind: Settings) -> None:
    commits = [path for path in (left_behind.checkpoint_dir / "silver" / "commits").iterdir() if path.name.isdigit()]
    assert len(commits) >= 8


def test_the_demo_leaves_no_process_behind(left_behind: Settings) -> None:
    assert status(left_behind) == []
    mine = str(left_behind.state_dir)
    alive = [
        process.info
        for process in psutil.process_iter(["pid", "cmdline"])
        if mine in " ".join(process.info["cmdline"] or [])
    ]
    assert alive == []


@pytest.fixture(scope="module")
def stack_again(settings: Settings, demo: subprocess.CompletedProcess[str]) -> Iterator[Settings]:
    """What the demo left, with its broker and registry started again."""
    kafka, controller, registry = free_ports(3)
    ports = {"kafka_port": kafka, "kafka_controller_port": controller, "registry_port": registry}
    own = settings.model_copy(update={"state_dir": settings.state_dir / "demo", **ports})
    up(own, echo=lambda _: None)
    try:
        yield own
    finally:
        down(own, echo=lambda _: None)


def test_reconcile_without_a_broker_says_so_and_is_neither_success_nor_damage(left_behind: Settings) -> None:
    found = rtap(left_behind.model_copy(update={"kafka_port": free_ports(1)[0]}), "reconcile")
    assert found.returncode == 3, found.stdout
    assert "error: The " in found.stdout
    assert "Traceback" not in found.stdout


def rewrite(path: Path, select: str) -> None:
    """Replace a Parquet file by what `select` makes of it (the file is called `original` there)."""
    fresh = path.with_suffix(".fresh")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE VIEW original AS FROM read_parquet('{path}', hive_partitioning = false)")
        connection.execute(f"COPY ({select}) TO '{fresh}' (FORMAT parquet)")
    fresh.replace(path)


def intended(settings: Settings) -> Path:
    (path,) = settings.ledger_dir.glob("*/intended-000001.parquet")
    return path


def gold_file(settings: Settings) -> Path:
    return Path(plan_lake(settings)["gold"].paths[0])


A_CENT_MORE = """SELECT * EXCLUDE (first) REPLACE (net_amount + if(sequence = first, 0.01, 0) AS net_amount)
    FROM original, (SELECT min(sequence) AS first FROM original WHERE kind = 'good')"""
ONE_INTENTION_LESS = "FROM original WHERE sequence <> (SELECT max(sequence) FROM original)"
ONE_ORDER_MORE = """SELECT * EXCLUDE (number) REPLACE (orders + (number = 1)::BIGINT AS orders)
    FROM (SELECT *, row_number() OVER () AS number FROM original)"""


@pytest.mark.parametrize(
    "damaged, select, broken",
    [
        (intended, A_CENT_MORE, r"✗ net [A-Z]{3}: ledger = silver"),
        (intended, ONE_INTENTION_LESS, r"✗ outcomes = intentions"),
        (gold_file, ONE_ORDER_MORE, r"✗ windows of gold = windows of silver"),
    ],
    ids=["a cent in the ledger", "a lost intention", "an order in gold"],
)
def test_reconcile_exits_with_1_when_something_is_damaged(
    stack_again: Settings, tmp_path: Path, damaged: Callable[[Settings], Path], select: str, broken: str
) -> None:
    path = damaged(stack_again)
    kept = Path(shutil.copy2(path, tmp_path / "kept.parquet"))
    rewrite(path, select)
    try:
        found = rtap(stack_again, "reconcile")
    finally:
        shutil.copy2(kept, path)
    assert found.returncode == 1, found.stdout
    assert re.search(broken, found.stdout), found.stdout
    assert "Not every line holds." in found.stdout


def test_reconcile_exits_with_0_when_nothing_is(stack_again: Settings) -> None:
    found = rtap(stack_again, "reconcile")
    assert found.returncode == 0, found.stdout
