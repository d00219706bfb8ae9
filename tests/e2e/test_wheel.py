"""The wheel, installed in an environment of its own far from the checkout, runs the demo. Jars come from the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT

UV = str(Path(sys.executable).with_name("uv"))
EVENTS = 10_000
INSTALL_SECONDS = 300
DEMO_SECONDS = 420


def run(*command: str, cwd: Path, seconds: float) -> str:
    """Run a command with nothing of this checkout in its environment; return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RTAP_", "PYTHON", "VIRTUAL"))}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment | {"RTAP_SPARK_DRIVER_MEMORY": "1g"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


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
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `rtap` of an environment that holds the wheel and the locked packages it needs, and no development ones."""
    folder = tmp_path_factory.mktemp("environment")
    environment = folder / "venv"
    run(UV, "venv", "--python", sys.executable, str(environment), cwd=folder, seconds=INSTALL_SECONDS)
    install = (UV, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"))
    lock = str(PROJECT_ROOT / "requirements-runtime.lock")
    run(*install, "--require-hashes", "-r", lock, cwd=folder, seconds=INSTALL_SECONDS)
    run(*install, "--offline", "--no-deps", str(wheel), cwd=folder, seconds=INSTALL_SECONDS)
    return environment / "bin" / "rtap"


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


def test_the_installed_package_checks_its_schemas_and_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    run(str(installed), "contracts", "check", cwd=tmp_path, seconds=60)
    shown = run(str(installed), "demo", "--events", str(EVENTS), cwd=tmp_path, seconds=DEMO_SECONDS)
    assert "Every line holds." in shown
    assert (tmp_path / ".rtap" / "demo" / "lake").is_dir()
