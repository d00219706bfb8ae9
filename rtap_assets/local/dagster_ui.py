"""Dagster's webserver and daemon as background services on 127.0.0.1, over the platform's definitions."""

from __future__ import annotations

import json
import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from pydantic import SecretStr

from rtap_assets.config import Settings
from rtap_assets.local.ports import LOOPBACK, listens
from rtap_assets.local.processes import Service

WEBSERVER = "dagster-webserver"
DAEMON = "dagster-daemon"
DEFINITIONS = "rtap_assets.definitions"
PROBE_SECONDS = 1.0

# A file that is there already is left alone: somebody may have pointed Dagster at PostgreSQL in it.
DAGSTER_YAML = """\
telemetry:
  enabled: false
sensors:
  use_threads: true
  num_workers: 2
schedules:
  use_threads: true
  num_workers: 2
"""


def ui_services(settings: Settings) -> list[Service]:
    """Webserver and daemon; sensors and schedules run in the daemon, so the one without the other is half a UI."""
    options = ["-m", DEFINITIONS]
    environment = settings_environment(settings) | {"DAGSTER_HOME": str(settings.dagster_home)}
    webserver = Service(
        name=WEBSERVER,
        title="Dagster webserver",
        command=[sys.executable, "-m", "dagster_webserver", "-h", LOOPBACK, "-p", str(settings.ui_port), *options],
        is_ready=lambda: _answers(settings.ui_port),
        ports={"RTAP_UI_PORT": settings.ui_port},
        environment=environment,
        prepare=lambda: write_dagster_home(settings),
    )
    daemon = Service(
        name=DAEMON,
        title="Dagster daemon",
        command=[sys.executable, "-m", "dagster._daemon", "run", *options, "--log-level", "warning"],
        is_ready=lambda: True,  # it listens nowhere; that it lives is checked once more when the webserver is ready
        environment=environment,
        prepare=lambda: write_dagster_home(settings),
    )
    return [daemon, webserver]


def write_dagster_home(settings: Settings) -> None:
    """Make the folder that `DAGSTER_HOME` names, with telemetry off and sensors in threads."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    config = settings.dagster_home / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML, encoding="utf-8")


def settings_environment(settings: Settings) -> dict[str, str]:
    """The `RTAP_…` variables from which another process reads these same settings, whatever folder it runs in."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {f"RTAP_{name.upper()}": _as_text(value) for name, value in values.items() if value is not None}


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return json.dumps(value) if isinstance(value, dict | list | bool) else str(value)


def _answers(port: int) -> bool:
    if not listens(port):
        return False
    # Without a proxy: a company's proxy in the environment does not know this machine's 127.0.0.1.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"http://{LOOPBACK}:{port}/server_info", timeout=PROBE_SECONDS) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
