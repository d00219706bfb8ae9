"""The container files, linted: no engine is needed to find a published port, a floating tag or a root process."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest
import yaml
from pydantic import SecretStr

from rtap_assets.cli import cli
from rtap_assets.commands.streaming.streams import streams
from rtap_assets.config import PROJECT_ROOT, Settings, load_settings
from rtap_assets.contracts.topics import DLQ_HEADER_BYTES
from rtap_assets.errors import ConfigurationError
from rtap_assets.host.metrics import metric_names
from rtap_assets.host.token import token_path
from rtap_assets.local.dagster_ui import CODE_SERVER, DAEMON, WEBSERVER, code_socket, ui_services

DOCKER = PROJECT_ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STEPS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text(encoding="utf-8")).splitlines()
    if line and not line.startswith("#")
]
PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+[\w.-]*$")
LASTING = [name for name, service in SERVICES.items() if service["restart"] != "no"]

every_service = pytest.mark.parametrize("name", list(SERVICES))


@every_service
def test_a_port_is_published_on_loopback_alone(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")] == []


@every_service
def test_an_image_has_a_version(name: str) -> None:
    assert PINNED.match(SERVICES[name]["image"])


@every_service
def test_a_container_does_not_run_as_root(name: str) -> None:
    assert str(SERVICES[name]["user"]).split(":", maxsplit=1)[0] not in {"", "0", "root"}
    assert not SERVICES[name].get("privileged", False)


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_service_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@every_service
def test_a_service_waits_for_the_health_of_what_it_needs(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        lasting = needed in LASTING
        assert how["condition"] == ("service_healthy" if lasting else "service_completed_successfully")


@every_service
def test_every_setting_that_is_passed_exists(name: str) -> None:
    known = {f"RTAP_{field.upper()}" for field in Settings.model_fields}
    passed = {variable for variable in SERVICES[name].get("environment", {}) if variable.startswith("RTAP_")}
    assert passed <= known


@every_service
def test_a_named_volume_is_declared(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert (DOCKER / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]


def test_broker_and_registry_are_the_versions_of_the_embedded_stack() -> None:
    ivy = (PROJECT_ROOT / "rtap_assets" / "java" / "ivy.xml").read_text(encoding="utf-8")
    for service, artifact in {"broker": "kafka_2.13", "registry": "apicurio-registry-app"}.items():
        version = re.search(rf'name="{re.escape(artifact)}" rev="([^"]+)"', ivy).group(1)
        assert SERVICES[service]["image"].endswith(f":{version}")


def test_the_broker_takes_the_largest_dead_letter() -> None:
    largest = Settings.model_fields["topic_max_message_bytes"].default + DLQ_HEADER_BYTES
    assert int(SERVICES["broker"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"]) >= largest


CONTAINER = load_settings(_env_file=None, state_dir=SERVICES["platform"]["environment"]["RTAP_STATE_DIR"])
UI_SERVICES = {"code": CODE_SERVER, "daemon": DAEMON, "webserver": WEBSERVER}


def test_dagster_runs_in_containers_by_the_commands_of_the_local_stack() -> None:
    local = {service.name: ["python", *service.command[1:]] for service in ui_services(CONTAINER)}
    assert {name: SERVICES[name]["command"] for name in UI_SERVICES} == {
        name: local[service] for name, service in UI_SERVICES.items()
    }


@pytest.mark.parametrize("name", list(UI_SERVICES))
def test_a_container_of_dagster_uses_the_instance_and_the_state_folder_of_the_settings(name: str) -> None:
    assert SERVICES[name]["environment"]["DAGSTER_HOME"] == str(CONTAINER.dagster_home)
    assert SERVICES[name]["environment"]["RTAP_STATE_DIR"] == str(CONTAINER.state_dir)
    assert [volume.split(":")[1] for volume in SERVICES[name]["volumes"]] == [str(CONTAINER.state_dir)]


def test_webserver_and_daemon_wait_for_the_code_server_on_its_socket() -> None:
    assert SERVICES["code"]["healthcheck"]["test"][-2:] == ["--socket", str(code_socket(CONTAINER))]
    assert [set(SERVICES[name]["depends_on"]) for name in ("daemon", "webserver")] == [{"code"}, {"code"}]


def test_there_is_one_instance_file_and_one_workspace_file() -> None:
    """Containers and the local stack write both from the package; the one of the repository's root is a link to it."""
    tracked = [path for path in PROJECT_ROOT.rglob("*.yaml") if not {".venv", ".git", ".rtap"} & set(path.parts)]
    package = PROJECT_ROOT / "rtap_assets" / "local"
    found = {path.resolve() for path in tracked if path.name in {"dagster.yaml", "workspace.yaml"}}
    assert found == {package / "dagster.yaml", package / "workspace.yaml"}
    assert (PROJECT_ROOT / "workspace.yaml").resolve() == package / "workspace.yaml"


def test_the_image_is_named_after_the_version_of_the_package() -> None:
    version = re.search(r'^version = "(.+)"', (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert SERVICES["platform"]["image"] == f"rtap:{version.group(1)}"


def test_the_dockerfile_starts_from_pinned_images() -> None:
    bases = [step[1].split()[0] for step in STEPS if step[0] == "FROM"]
    assert len(bases) == 2
    assert [base for base in bases if not PINNED.match(base)] == []


def test_the_dockerfile_ends_as_an_ordinary_user() -> None:
    users = [step[1] for step in STEPS if step[0] == "USER"]
    assert users == [SERVICES["platform"]["user"]]


def test_the_dockerfile_installs_what_is_locked_and_nothing_from_a_pipe() -> None:
    runs = [step[1] for step in STEPS if step[0] == "RUN"]
    assert [run for run in runs if re.search(r"(curl|wget)[^|]*\|", run)] == []
    locked = [run for run in runs if "requirements-runtime.lock" in run]
    assert locked
    assert all("--require-hashes" in run for run in locked)
    assert [step for step in STEPS if step[0] == "ADD"] == []


def test_everything_that_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    kept = re.findall(r"^!(.+)$", (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8"), flags=re.MULTILINE)
    copies = [step[1].split()[:-1] for step in STEPS if step[0] == "COPY" and "--from=" not in step[1]]
    sources = [word for words in copies for word in words if not word.startswith("--")]
    assert {"pyproject.toml", "rtap_assets"} <= {source.rstrip("/") for source in sources}
    assert [source for source in sources if source not in kept] == []
    assert [source for source in sources if not (PROJECT_ROOT / source).exists()] == []


def published(name: str) -> list[str]:
    """The ports of a service, as host port -> port of the container."""
    return [port.removeprefix("127.0.0.1:") for port in SERVICES[name].get("ports", [])]


def test_the_parts_are_published_on_the_ports_of_the_settings() -> None:
    assert published("broker") == [f"{CONTAINER.kafka_port}:{CONTAINER.kafka_port}"]
    assert published("registry")[0].startswith(f"{CONTAINER.registry_port}:")
    assert published("webserver") == [f"{CONTAINER.ui_port}:{CONTAINER.ui_port}"]
    assert published("dashboard") == [f"{CONTAINER.dashboard_port}:{CONTAINER.dashboard_port}"]
    assert published("platform") == [f"{CONTAINER.streams_port}:{CONTAINER.streams_port}"]


def test_no_two_services_publish_one_port() -> None:
    hosts = [port.split(":")[0] for name in SERVICES for port in published(name)]
    assert len(hosts) == len(set(hosts))


def test_the_recipe_starts_the_streams_by_the_command_of_the_shell() -> None:
    words = SERVICES["streams"]["command"]
    assert words[0] == "rtap"
    root = click.Context(cli)
    assert cli.get_command(root, words[1]) is streams
    assert streams.get_command(root, words[2]) is not None


def test_prometheus_scrapes_the_stream_host_with_its_token() -> None:
    (job,) = yaml.safe_load((DOCKER / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"platform:{CONTAINER.streams_port}"]}]
    assert job["authorization"]["credentials_file"] == str(token_path(CONTAINER))
    assert SERVICES["prometheus"]["user"] == SERVICES["platform"]["user"], "the token is for its owner alone"


def test_grafana_asks_that_prometheus_and_shows_metrics_that_exist() -> None:
    (source,) = yaml.safe_load((DOCKER / "grafana-datasource.yaml").read_text(encoding="utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    dashboard = (DOCKER / "grafana-dashboard.json").read_text(encoding="utf-8")
    assert set(re.findall(r"rtap_\w+", dashboard)) <= metric_names()


def test_metrics_and_the_page_are_profiles_and_nothing_else_needs_one() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"prometheus": ["metrics"], "grafana": ["metrics"], "dashboard": ["page"]}


def test_the_page_is_served_to_others_with_a_token_alone() -> None:
    passed = SERVICES["dashboard"]["environment"]
    assert passed["RTAP_DASHBOARD_TOKEN"] == "${RTAP_DASHBOARD_TOKEN:-}"
    with pytest.raises(ConfigurationError, match="RTAP_DASHBOARD_TOKEN"):
        load_settings(_env_file=None, dashboard_bind=passed["RTAP_DASHBOARD_BIND"], dashboard_token=SecretStr(""))
    command = SERVICES["dashboard"]["command"]
    assert command[0] == "rtap"
    assert cli.get_command(click.Context(cli), command[1]) is not None


def test_the_image_holds_no_development_packages() -> None:
    lock = (PROJECT_ROOT / "requirements-runtime.lock").read_text(encoding="utf-8")
    names = set(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==", lock, flags=re.MULTILINE))
    assert names & {"pytest", "mypy", "playwright", "ruff", "hypothesis", "import-linter"} == set()
    assert "pyspark" in names


def test_the_locks_agree_on_every_version() -> None:
    def versions(name: str) -> set[str]:
        text = (PROJECT_ROOT / name).read_text(encoding="utf-8")
        return set(re.findall(r"^([a-z0-9-]+(?:\[.*\])?==[^ \\;]+)", text, flags=re.MULTILINE))

    assert versions("requirements-runtime.lock") <= versions("requirements.lock")


def test_definitions_are_loaded_by_the_code_server_alone() -> None:
    loading = [name for name, service in SERVICES.items() if "code_server" in " ".join(service.get("command", []))]
    assert loading == ["code"]
    assert all("workspace.yaml" in " ".join(SERVICES[name]["command"]) for name in ("webserver", "daemon"))


def test_runs_are_monitored() -> None:
    instance = yaml.safe_load((PROJECT_ROOT / "rtap_assets" / "local" / "dagster.yaml").read_text(encoding="utf-8"))
    assert instance["run_monitoring"]["enabled"] is True
