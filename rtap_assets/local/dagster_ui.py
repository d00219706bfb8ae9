"""Dagster's webserver and daemon as background services on 127.0.0.1, over one code server with the platform's definitions.

The code server is a service of its own: a daemon that has to load the definitions itself starts a new process for them every
minute (about four seconds of CPU each time).
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from rtap_assets.config import Settings, settings_environment
from rtap_assets.local.ports import LOOPBACK, listens
from rtap_assets.local.processes import Service

CODE_SERVER = "dagster-code-server"
WEBSERVER = "dagster-webserver"
DAEMON = "dagster-daemon"
DEFINITIONS = "rtap_assets.definitions"
PROBE_SECONDS = 1.0
MAX_SOCKET_PATH_BYTES = 100  # macOS takes 104, Linux 108

# A file that is there already is left alone: somebody may have pointed Dagster at PostgreSQL in it.
# Runs only wait for the stream host, which serialises what must be serial per stream; refreshes of the marts take turns by
# their lock. So a command need not wait for a materialisation; the bound is one of memory (about 250 MB a run). Ticks come
# every ten seconds: one sensor that is held up must not hold up the supervisor, and their records are not kept for long.
# The code server reports a run whose process was killed; one that a killed daemon left between queue and process, or that
# nobody is left to cancel, is found by run monitoring.
DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
sensors:
  use_threads: true
  num_workers: 4
schedules:
  use_threads: true
  num_workers: 2
retention:
  sensor:
    purge_after_days: {skipped: 1, started: 1, success: 7, failure: 7}
concurrency:
  runs:
    max_concurrent_runs: 6
run_monitoring:
  enabled: true
  start_timeout_seconds: 120
  cancel_timeout_seconds: 60
  poll_interval_seconds: 20
"""


def ui_services(settings: Settings) -> list[Service]:
    """Code server, webserver and daemon; schedules and queued runs need the daemon, so without it it is half a UI."""
    path = code_socket(settings)
    environment = settings_environment(settings) | {"DAGSTER_HOME": str(settings.dagster_home)}
    workspace = ["-w", str(settings.dagster_home / "workspace.yaml")]
    code = ["--socket", str(path), "-m", DEFINITIONS, "--location-name", DEFINITIONS]
    patience = ["--startup-timeout", str(int(settings.startup_timeout_seconds))]
    code_server = Service(
        name=CODE_SERVER,
        title="Dagster code",
        command=[sys.executable, "-m", "rtap_assets.local.code_server", *code, *patience, "--log-level", "warning"],
        is_ready=lambda: _accepts(path),
        environment=environment,
        prepare=lambda: write_dagster_home(settings),
    )
    daemon = Service(
        name=DAEMON,
        title="Dagster daemon",
        command=[sys.executable, "-m", "dagster._daemon", "run", *workspace, "--log-level", "warning"],
        is_ready=lambda: True,  # it listens nowhere; that it lives is checked once more when the webserver is ready
        environment=environment,
        starts_after=code_server,
    )
    webserver = Service(
        name=WEBSERVER,
        title="Dagster webserver",
        command=[sys.executable, "-m", "rtap_assets.local.webserver", str(settings.dagster_home / "workspace.yaml")],
        is_ready=lambda: _answers(settings.ui_port),
        ports={"RTAP_UI_PORT": settings.ui_port},
        environment=environment,
        starts_after=code_server,
    )
    return [code_server, daemon, webserver]


def code_socket(settings: Settings) -> Path:
    """Where the code server listens: a Unix socket, which needs no port and which no other user may connect to."""
    path = settings.run_dir / "dagster.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(settings.state_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"rtap-{digest}.sock"


def write_dagster_home(settings: Settings) -> None:
    """Make the folder that `DAGSTER_HOME` names: telemetry off, sensors in threads, several runs at a time."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    config = settings.dagster_home / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML, encoding="utf-8")
    location = {"grpc_server": {"socket": str(code_socket(settings)), "location_name": DEFINITIONS}}
    workspace = settings.dagster_home / "workspace.yaml"
    workspace.write_text(json.dumps({"load_from": [location]}, indent=2), encoding="utf-8")  # JSON is YAML


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


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
