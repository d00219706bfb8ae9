"""The class-data archive of Spark's driver (AppCDS): its classes, parsed and verified once, mapped by every later start.

A start takes about half of the CPU with it: 7 instead of 13.5 seconds. An archive fits one Java and one class path, to the
times of the files. Its name is a digest of both, so that one that does not fit is not found, and a start does without.
"""

from __future__ import annotations

import hashlib
import logging
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from rtap_assets.config import Settings, settings_environment
from rtap_assets.errors import ConfigurationError
from rtap_assets.runtime.background import spawn_background

# Recorded by `python -m bench.class_list`. A class that is not on the class path (any more) is passed over.
CLASS_LIST = Path(__file__).with_name("spark-classes.txt.xz")
UNFINISHED = "making-"
MAKE_COMMAND = ["nice", "-n", "19", sys.executable, "-m", "rtap_assets.cli", "jars", "archive", "--no-wait"]

log = logging.getLogger(__name__)


def archive_path(settings: Settings, *, java: Path, class_path: Sequence[Path]) -> Path:
    """Return where the archive for this Java and this class path is, made or not."""
    digest = hashlib.sha256(CLASS_LIST.read_bytes())
    for file in (java, *class_path):
        stat = file.stat()
        digest.update(f"{file}\n{stat.st_size}\n{int(stat.st_mtime)}\n".encode())  # as Java compares: images keep seconds
    return _folder(settings) / f"{digest.hexdigest()[:16]}.jsa"


def archive_options(settings: Settings, *, java: Path, class_path: Sequence[Path]) -> list[str]:
    """Return the JVM option that uses the archive; none while there is none, which begins to be made in the background.

    Never fails a start: without an archive the JVM reads its classes from the jars.
    """
    if not settings.spark_class_archive:
        return []
    path = archive_path(settings, java=java, class_path=class_path)
    if path.exists():
        return [f"-XX:SharedArchiveFile={path}"]
    if (failed := _failure(path)).exists():
        log.info("no class-data archive: making it failed earlier, see %s; `rtap jars archive` tries again", failed)
    elif not os.access(settings.cache_dir, os.W_OK):
        log.info("no class-data archive for this class path, and %s cannot be written", settings.cache_dir)
    else:
        log.info("no class-data archive for this class path yet: it is made in the background, for later starts")
        output = settings.log_dir / "class-archive.out"
        spawn_background(MAKE_COMMAND, output=output, environment=settings_environment(settings))
    return []


def make_archive(settings: Settings, *, java: Path, class_path: Sequence[Path], wait_seconds: float) -> Path | None:
    """Make the archive if there is none and return its path; None if another process is making one for longer than that.

    Removes archives that no start can find again. Takes about 30 CPU seconds and 245 MB of disk.

    Raises:
        ConfigurationError: Java could not make it; the message holds its last lines.
    """
    path = archive_path(settings, java=java, class_path=class_path)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.parent / "lock", timeout=wait_seconds):
            _remove_outdated(path)
            if not path.exists():
                _dump(path, java, class_path)
    except Timeout:
        return None
    return path


def _dump(path: Path, java: Path, class_path: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=UNFINISHED) as scratch:
        classes, fresh = Path(scratch) / "classes.txt", Path(scratch) / path.name
        classes.write_bytes(lzma.decompress(CLASS_LIST.read_bytes()))
        command = [
            str(java), "-Xshare:dump", f"-XX:SharedClassListFile={classes}", f"-XX:SharedArchiveFile={fresh}",
            "-cp", ":".join(map(str, class_path)),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not fresh.exists():
            lines = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            text = f"Java could not make the class-data archive (exit code {done.returncode}):\n{lines}"
            _failure(path).write_text(text, encoding="utf-8")
            raise ConfigurationError(
                text, remedy="Only the time of a start depends on it; RTAP_SPARK_CLASS_ARCHIVE=false does without."
            )
        _origin(path).write_text(sys.prefix, encoding="utf-8")
        fresh.replace(path)


def _remove_outdated(path: Path) -> None:
    """Remove what no start can find again: of this environment's earlier jars, of environments that are gone, unfinished."""
    _failure(path).unlink(missing_ok=True)
    for unfinished in path.parent.glob(f"{UNFINISHED}*"):
        shutil.rmtree(unfinished)
    for origin in path.parent.glob("*.origin"):
        environment = origin.read_text(encoding="utf-8")
        if origin != _origin(path) and (environment == sys.prefix or not Path(environment).exists()):
            origin.with_suffix(".jsa").unlink(missing_ok=True)
            origin.unlink()


def _origin(archive: Path) -> Path:
    """Return the file that names the Python environment of an archive."""
    return archive.with_suffix(".origin")


def _failure(archive: Path) -> Path:
    return archive.with_suffix(".failed")


def _folder(settings: Settings) -> Path:
    return settings.cache_dir / "class-archives"
