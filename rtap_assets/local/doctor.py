"""What must be true of this machine for the platform to run: one function per question, each answering with a `Check`.

Reads only; starts nothing but `java -version`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.errors import ConfigurationError, ContractError
from rtap_assets.java.jars import jars_are_fetched, jars_folder
from rtap_assets.java.jvm import java_command, java_major_version
from rtap_assets.local.pid_files import records
from rtap_assets.local.ports import is_free

GIB = 1024**3
NEEDED_MEMORY_BYTES = 4 * GIB
NEEDED_DISK_BYTES = 5 * GIB
OLDEST_PYTHON = (3, 11)
CHECK_SCHEMAS = "Remove RTAP_SCHEMAS_DIR, or point it at a folder with one folder per subject; `rtap contracts check`."
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smbfs", "smb3", "9p", "afpfs", "webdav", "fuse.sshfs"})


@dataclass(frozen=True)
class Check:
    """The answer to one question; `fix` is what to do when it is not `ok`. Only a required one stops the platform."""

    name: str
    ok: bool
    finding: str
    fix: str = ""
    required: bool = True


def check_machine(settings: Settings) -> list[Check]:
    """Return all checks, in the order in which they would stop a newcomer."""
    return [
        check_python(sys.version_info[:3]),
        check_java(settings),
        check_jars(settings),
        check_schemas(settings.schemas_dir),
        *check_ports(settings),
        check_memory(psutil.virtual_memory().available),
        check_state_dir(settings.state_dir),
        _check_disk(settings.state_dir),
        check_path(settings.state_dir),
        check_file_system(settings.state_dir, _mounts()),
    ]


def check_python(version: tuple[int, ...]) -> Check:
    """Check whether the running Python is recent enough."""
    return Check(
        "Python",
        ok=version >= OLDEST_PYTHON,
        finding=".".join(map(str, version)),
        fix="Install Python 3.11 or newer, remove .venv, then: make RTAP_PYTHON=/path/to/python3.11 setup",
    )


def check_java(settings: Settings) -> Check:
    """Check which Java runs Spark, broker and registry, and whether it can."""
    source = "from the packages" if settings.java_home is None else f"of RTAP_JAVA_HOME: {settings.java_home}"
    try:
        (java,) = java_command(settings)
        return Check("Java", ok=True, finding=f"Java {java_major_version(Path(java))} {source}")
    except ConfigurationError as error:
        return Check("Java", ok=False, finding=error.message, fix=error.remedy)


def check_jars(settings: Settings) -> Check:
    """Check whether this version's jars were fetched and verified."""
    folder = jars_folder(settings)
    fetched = jars_are_fetched(settings)
    return Check("Jars", ok=fetched, finding=str(folder) if fetched else f"not in {folder}", fix="rtap jars fetch")


def check_schemas(schemas_dir: Path) -> Check:
    """Check whether the contract's schemas are there and can be read."""
    try:
        versions = load_subject(schemas_dir, EVENTS_SUBJECT_FOLDER)
    except ContractError as error:
        return Check("Schemas", ok=False, finding=error.message, fix=CHECK_SCHEMAS)
    return Check("Schemas", ok=True, finding=f"{len(versions)} versions of {EVENTS_SUBJECT_FOLDER}")


def embedded_ports(settings: Settings) -> dict[str, int]:
    """Setting name -> port, of the embedded processes that this configuration starts."""
    return {f"RTAP_{name.upper()}": getattr(settings, name) for name in settings.embedded_port_names}


def check_ports(settings: Settings) -> Iterator[Check]:
    """Check each embedded port: free, held by this state folder's own process, or held by another."""
    for variable, port in embedded_ports(settings).items():
        name = f"Port {port}"
        if is_free(port):
            yield Check(name, ok=True, finding="free")
            continue
        holder = _listener_on(port)
        if holder is not None and _is_ours(holder, settings):
            yield Check(name, ok=True, finding=f"held by our own process {holder.pid}")
            continue
        who = f"{holder.name()}, process {holder.pid}" if holder else "a process of another user"
        yield Check(name, ok=False, finding=f"held by {who}", fix=f"Stop it, or set {variable} to a free port.")


def _listener_on(port: int) -> psutil.Process | None:
    """Return the process that listens on the port, as far as this user may see it."""
    for process in psutil.process_iter():
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:  # another user's process, or one that has just ended
            continue
        if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections):
            return process
    return None


def _is_ours(process: psutil.Process, settings: Settings) -> bool:
    """Return whether the process, or the one that started it, has a record in the run folder."""
    own = {record.pid for record in records(settings) if record.process() is not None}
    return process.pid in own or any(parent.pid in own for parent in process.parents())


def check_memory(available_bytes: int) -> Check:
    """Check whether broker, registry and a Spark driver with its default heap fit."""
    return Check(
        "Memory",
        ok=available_bytes >= NEEDED_MEMORY_BYTES,
        finding=f"{available_bytes / GIB:.1f} GiB available",
        fix=f"Close other programs until {NEEDED_MEMORY_BYTES // GIB} GiB are free, or lower RTAP_SPARK_DRIVER_MEMORY.",
    )


def _check_disk(state_dir: Path) -> Check:
    """Check whether the state folder's disk has room for a demo and more."""
    free = shutil.disk_usage(_nearest_existing(state_dir)).free
    return Check(
        "Disk",
        ok=free >= NEEDED_DISK_BYTES,
        finding=f"{free / GIB:.0f} GiB free",
        fix=f"Free {NEEDED_DISK_BYTES // GIB} GiB, or point RTAP_STATE_DIR at a larger disk.",
    )


def check_state_dir(state_dir: Path) -> Check:
    """Check whether the state folder can be written, or created."""
    existing = _nearest_existing(state_dir)
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return Check(
        "State folder",
        ok=writable,
        finding=str(state_dir) if writable else f"{existing} is not a folder that this user may write to",
        fix="Change its owner or mode, or point RTAP_STATE_DIR elsewhere.",
    )


def check_path(state_dir: Path) -> Check:
    """Check whether the state folder's path is free of characters that Java options and addresses treat specially."""
    odd = sorted({character for character in str(state_dir) if character.isspace() or character in "%#?;,"})
    return Check(
        "Path",
        ok=not odd,
        finding=f"contains {', '.join(map(repr, odd))}" if odd else "no special characters",
        fix="Point RTAP_STATE_DIR at a folder without spaces and special characters.",
        required=False,
    )


def _mounts() -> dict[Path, str]:
    """Return, by mount point, the file system type."""
    return {Path(disk.mountpoint): disk.fstype.lower() for disk in psutil.disk_partitions(all=True)}


def check_file_system(state_dir: Path, mounted: dict[Path, str]) -> Check:
    """Check whether the state folder is on a local disk: SQLite's WAL mode does not work on network file systems."""
    where = _nearest_existing(state_dir).resolve()
    fstype = next((mounted[folder] for folder in [where, *where.parents] if folder in mounted), "unknown")
    return Check(
        "File system",
        ok=fstype not in NETWORK_FILE_SYSTEMS,
        finding=fstype,
        fix="Point RTAP_STATE_DIR at a local disk: the embedded catalog (SQLite, WAL) is not safe on a network one.",
        required=False,
    )


def _nearest_existing(path: Path) -> Path:
    """Return the path itself, or the closest folder above it that exists."""
    return next(folder for folder in [path, *path.parents] if folder.exists())
