"""The wheel, installed in an environment of its own far from the checkout, runs `rtap demo` in small.

What a newcomer sees, and that the proof at its end notices damage. Jars come from the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import psutil
import pytest
from commands import COMMAND_SECONDS, WIDE_ENOUGH, rtap, run_rtap
from stack_fixtures import silent

from rtap_assets.config import PROJECT_ROOT, Settings, load_settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.options import TRANSACTION_EVENTS
from rtap_assets.local.ports import free_port, free_ports
from rtap_assets.local.stack import down, up
from rtap_assets.local.status import status
from rtap_assets.serving.lake_files import plan_lake

UV = str(Path(sys.executable).with_name("uv"))
EVENTS = 20_000
INSTALL_SECONDS = 300
DEMO_SECONDS = 420


def run(*command: str, cwd: Path, seconds: float) -> str:
    """Run a command that must succeed, with nothing of this checkout in its environment; return its output."""
    done = tried(*command, cwd=cwd, seconds=seconds)
    assert done.returncode == 0, done.stdout
    return done.stdout


def tried(*command: str, cwd: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command likewise, whether it succeeds or not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RTAP_", "PYTHON", "VIRTUAL"))}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment | WIDE_ENOUGH | {"RTAP_SPARK_DRIVER_MEMORY": "1g", "RTAP_SPARK_CLASS_ARCHIVE": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what Git tracks, without an index."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(PROJECT_ROOT / name, source)
    shutil.copytree(PROJECT_ROOT / "rtap_assets", source / "rtap_assets", ignore=shutil.ignore_patterns("__pycache__"))
    build = (UV, "build", "--wheel", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(out))
    run(*build, str(source), cwd=source, seconds=INSTALL_SECONDS)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The `rtap` of an environment that holds the wheel and the locked packages it needs, and no development ones."""
    folder = tmp_path_factory.mktemp("environment")
    environment = folder / "venv"
    run(UV, "venv", "--python", sys.executable, str(environment), cwd=folder, seconds=INSTALL_SECONDS)
    install = (UV, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"))
    locked = (*install, "--require-hashes", "-r", str(PROJECT_ROOT / "requirements-runtime.lock"))
    # As `make setup` does: from uv's cache alone when it can; asking the index costs a minute and 20 s of CPU.
    if tried(*locked, "--offline", cwd=folder, seconds=INSTALL_SECONDS).returncode:
        run(*locked, cwd=folder, seconds=INSTALL_SECONDS)
    run(*install, "--offline", "--no-deps", str(wheel), cwd=folder, seconds=INSTALL_SECONDS)
    return str(environment / "bin" / "rtap")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, in which the demo is run."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(installed: str, folder: Path) -> str:
    """The output of `rtap demo`, which must succeed; nothing runs before it."""
    return run(installed, "demo", "--details", "--events", str(EVENTS), cwd=folder, seconds=DEMO_SECONDS)


@pytest.fixture(scope="module")
def left_behind(folder: Path, demo: str) -> Settings:
    """The lake and the ledger that the demo left."""
    return load_settings(state_dir=folder / ".rtap" / "demo", spark_driver_memory="1g")


def counts(output: str) -> dict[str, str]:
    """Line of the reconciliation that holds -> its value."""
    found = re.findall(r"✓ (.+?)  +(-?[\d,.]+)", output)
    return {name: value.replace(",", "") for name, value in found}


def test_the_wheel_holds_every_file_of_the_package_that_is_no_cache(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    package = PROJECT_ROOT / "rtap_assets"
    needed = {
        str(path.relative_to(PROJECT_ROOT))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".DS_Store"
    }
    assert needed - held == set()


def test_the_installed_package_checks_its_schemas(installed: str, tmp_path: Path) -> None:
    run(installed, "contracts", "check", cwd=tmp_path, seconds=COMMAND_SECONDS)


def test_the_demo_reconciles_every_line_and_exits_with_0(demo: str) -> None:
    assert "✗" not in demo
    assert "Every line holds." in demo
    held = counts(demo)
    assert held["records of the topic = rows of bronze"] == str(EVENTS + TRANSACTION_EVENTS)
    assert held.keys() >= {"valid rows read = silver + copies + late", "verdict: equal", "values: ledger = silver"}
    corrected = re.search(r"late, corrected +([\d,]+)", demo)
    late = int(held.get("late = older than the watermark", "0"))
    assert late + (int(corrected[1].replace(",", "")) if corrected else 0) > 0


def test_the_demo_shows_revenue_and_the_dead_letters_by_reason(demo: str, left_behind: Settings) -> None:
    assert "Revenue by plan, refunds subtracted" in demo
    with duckdb.connect(str(left_behind.marts_path), read_only=True) as connection:
        letters = dict(connection.execute("SELECT reason, records FROM dlq_by_reason").fetchall())
        currencies = connection.execute("SELECT DISTINCT currency FROM rolling_revenue").fetchall()
    details = demo.split("\nDetails\n")[1].split("\nTopic = bronze\n", maxsplit=1)[0]
    shown = {name: int(count.replace(",", "")) for count, name in re.findall(r"^ +([\d,]+)  (\w+) ", details, re.MULTILINE)}
    assert shown == letters
    assert letters.keys() <= set(Reason)
    held = counts(demo)
    assert int(held["quarantined = dead letters, by identity"]) == sum(letters.values())
    assert held.keys() >= {f"net {currency}: silver = gold" for (currency,) in currencies}


def test_the_demo_ends_with_a_picture_in_80_columns_and_the_command_that_opens_it(demo: str, installed: str) -> None:
    picture = demo.split("\nWhat happened\n")[1]
    assert max(len(line) for line in picture.splitlines() if installed not in line) <= 80
    for text in ("Pipeline, layer by layer", "Refused: ", "Data quality: ", "✓ Every window of gold is the sum"):
        assert text in picture
    assert f"RTAP_STATE_DIR=.rtap/demo {installed} up --ui --streams" in picture
    assert f"{installed} up --ui --streams --start --generate 500" in picture  # there is no Makefile beside the wheel


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
def stack_again(left_behind: Settings) -> Iterator[Settings]:
    """What the demo left, with its broker and registry started again."""
    kafka, controller, registry = free_ports(3)
    ports = {"kafka_port": kafka, "kafka_controller_port": controller, "registry_port": registry}
    own = left_behind.model_copy(update=ports)
    up(own, echo=silent)
    try:
        yield own
    finally:
        down(own, echo=silent)


def test_reconcile_without_a_broker_says_so_and_is_neither_success_nor_damage(left_behind: Settings) -> None:
    code, output = run_rtap(left_behind.model_copy(update={"kafka_port": free_port()}), "reconcile")
    assert code == 3, output
    assert "error: The " in output
    assert "Traceback" not in output


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
        code, output = run_rtap(stack_again, "reconcile")
    finally:
        shutil.copy2(kept, path)
    assert code == 1, output
    assert re.search(broken, output), output
    assert "Not every line holds." in output


def test_reconcile_exits_with_0_when_nothing_is(stack_again: Settings) -> None:
    rtap(stack_again, "reconcile")
