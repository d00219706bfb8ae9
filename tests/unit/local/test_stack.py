"""What `rtap up` and `make up` would start, and the order in which all of it ends; nothing of it is started here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from rtap_assets.commands.local.generate import generate
from rtap_assets.commands.local.stack import up, what_next
from rtap_assets.config import PROJECT_ROOT, Settings, load_settings
from rtap_assets.demo.pipeline import demo_settings
from rtap_assets.errors import LocalStackError
from rtap_assets.local import stack
from rtap_assets.local.processes import Service, start
from rtap_assets.local.services.generator import generator_service


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap")


def sleeper(name: str, *words: str) -> Service:
    return Service(name=name, title=name, command=["/bin/sleep", *words], is_ready=lambda: True)


def test_with_broker_and_registry_elsewhere_only_the_ui_is_started(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path, kafka_bootstrap="broker:9092", registry_url="http://registry:8080")
    assert stack.services_to_run(settings, ui=False) == []
    ui = [service.name for service in stack.services_to_run(settings, ui=True)]
    assert ui == ["dashboard", "dagster-code-server", "dagster-daemon", "dagster-webserver"]


def test_the_generator_is_a_command_that_the_command_line_takes(settings: Settings) -> None:
    assert stack.generators_to_run(settings, rate=None) == []
    (service,) = stack.generators_to_run(settings, rate=2000.0)
    assert service.command[1:4] == ["-m", "rtap_assets.cli", "generate"]
    assert generate.make_context("generate", service.command[4:]).params["rate"] == 2000
    assert service.environment["RTAP_STATE_DIR"] == str(settings.state_dir)


@pytest.mark.parametrize("rate", [0.25, 1_000_000.0, 123_456.5])
def test_the_rate_reaches_the_generator_as_it_was_given(settings: Settings, rate: float) -> None:
    assert float(generator_service(settings, rate=rate).command[-1]) == rate


def test_a_generator_of_another_rate_is_not_taken_for_the_one_asked_for(settings: Settings) -> None:
    start(settings, sleeper("generator", "60"))
    with pytest.raises(LocalStackError, match=r"A generator of 60 records a second runs .*, not one of 2000"):
        stack.generators_to_run(settings, rate=2000)
    stack.down(settings, echo=lambda _: None)
    assert stack.generators_to_run(settings, rate=2000)


def test_down_ends_the_keeper_and_the_generator_first_and_the_broker_last(settings: Settings) -> None:
    for name in reversed(stack.STOP_ORDER):
        start(settings, sleeper(name, "60"))
    said: list[str] = []
    stack.down(settings, echo=said.append)
    assert [line.split()[0] for line in said] == list(stack.STOP_ORDER)
    assert (stack.STOP_ORDER[:2], stack.STOP_ORDER[-1]) == (("keeper", "generator"), "kafka")


def test_what_was_started_is_told_with_addresses_and_next_commands(settings: Settings) -> None:
    everything = "\n".join(what_next(settings, ui=True, streams=True, start=False, rate=None))
    for text in ("http://127.0.0.1:3000", ":18090/openapi.json", "127.0.0.1:19092", ":18081/", "rtap top", "rtap generate"):
        assert text in everything
    little = "\n".join(what_next(settings, ui=False, streams=False, start=True, rate=2000))
    assert "Dagster UI" not in little
    assert "stream host" not in little
    assert "rtap generate" not in little
    assert "rtap streams start" in everything
    assert "rtap streams start" not in little


@pytest.mark.parametrize(
    "given, asked",
    [("", ["--start"]), ("RATE=2000", ["--start", "--generate", "2000"]), ("STREAMS=stopped", [])],
)
def test_make_up_starts_everything_with_the_streams_and_a_generator_when_asked(given: str, asked: list[str]) -> None:
    words = ["make", "--no-print-directory", "--dry-run", "--old-file=.venv/.ready", "up", *given.split()]
    done = subprocess.run(words, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == [".venv/bin/rtap", "up", "--ui", "--streams", *asked]


def test_a_rate_of_nothing_is_refused() -> None:
    assert CliRunner().invoke(up, ["--generate", "0"]).exit_code == 2


def test_a_demo_beside_a_live_system_shares_neither_folder_nor_port(settings: Settings) -> None:
    live = settings.model_copy(update={"streams_url": "http://127.0.0.1:18090"})
    demo = demo_settings(live, events=10)
    assert demo.state_dir != live.state_dir
    addresses = ("bootstrap_servers", "schema_registry_url", "streams_address")
    assert [name for name in addresses if getattr(demo, name) == getattr(live, name)] == []
