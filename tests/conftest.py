"""For every tier: the tests see the platform's defaults, not the settings of the developer's shell or `.env`.

Where the jars are and which Java runs may still be chosen. Bytecode is kept, whatever the shell says.
"""

from __future__ import annotations

import os
import sys

import pytest

from rtap_assets.config import Settings

pytest_plugins = [
    "stack_fixtures",
    "spark_fixtures",
    "stream_fixtures",
    "fake_host",
    "audited_lake",
]  # nothing is started until a test asks for it

KEPT = {"RTAP_CACHE_DIR", "RTAP_JAVA_HOME"}

for name in [name for name in os.environ if name.startswith("RTAP_") and name not in KEPT]:
    del os.environ[name]
Settings.model_config["env_file"] = None

# Container images set this; then each of the processes that tests start would compile the platform's modules for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live-seconds", type=float, default=60, help="How long the test of a live system watches it.")
