"""Prints the asset graph, in a process in which touching the network, starting a process or writing a file is an error.

Run by `tests/unit/test_definitions.py`. After an intended change, send its output to `tests/unit/asset_graph.txt`.
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

FORBIDDEN = {"socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}
CHANGES = {"os.mkdir", "os.rename", "os.remove", "sqlite3.connect"}
WRITING = "wax+"


def forbid(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: the outside world is out of bounds."""
    if event in FORBIDDEN | CHANGES:
        raise AssertionError(f"loading the definitions does {event} {arguments}")
    if event == "open":
        path, mode, _ = arguments
        if mode and set(mode) & set(WRITING) and str(path) != "/dev/null":
            raise AssertionError(f"loading the definitions writes {path}")


def described(spec: Any, checks: list[str]) -> str:
    """One asset as a few lines: what a reviewer of the graph wants to see."""
    schema = spec.metadata.get("dagster/column_schema")
    deps = sorted(dep.asset_key.to_user_string() for dep in spec.deps)
    summary = " ".join(spec.description.partition("\n\n")[0].split())
    columns = "as in the contract" if schema else "known once it is built" if spec.key.path[0] == "marts" else "-"
    lines = [
        f"from:    {', '.join(deps) or '-'}",
        f"group:   {spec.group_name}",
        f"kinds:   {', '.join(sorted(spec.kinds))}",
        f"owners:  {', '.join(spec.owners)}",
        f"says:    {summary}",
        f"columns: {columns}",
        *([f"checks:  {', '.join(checks)}"] if checks else []),
    ]
    wrapped = (textwrap.fill(line, 120, initial_indent="  ", subsequent_indent=" " * 11) for line in lines)
    return "\n".join([spec.key.to_user_string(), *wrapped])


def main() -> None:
    """Load under guard, then print."""
    import dagster  # noqa: F401, PLC0415  (asks `file` about the interpreter when it is imported)

    tempfile.gettempdir()  # finds out by writing where it may
    sys.addaudithook(forbid)
    from rtap_assets.definitions import defs  # noqa: PLC0415

    defs.get_repository_def().load_all_definitions()  # finds what conflicts, as the code server does

    executor = defs.executor.name if defs.executor else "the default"
    specs = sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)
    jobs = sorted(f"job {job.name}: {job.description}" for job in defs.jobs or [])
    sensors = sorted(
        f"sensor {one.name} ({one.default_status.value.lower()}, every {one.minimum_interval_seconds} s): {one.description}"
        for one in defs.sensors or []
    )
    checks = sorted(defs.resolve_asset_graph().asset_check_keys)
    print(
        f"executor: {executor}", *(textwrap.fill(line, 120, subsequent_indent="  ") for line in (*jobs, *sensors)), sep="\n"
    )
    print()
    print("\n\n".join(described(spec, [one.name for one in checks if one.asset_key == spec.key]) for spec in specs))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
