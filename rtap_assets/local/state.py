"""The state folder: telling it from any other folder, and removing it without ever removing anything else."""

from __future__ import annotations

import shutil
from pathlib import Path

from rtap_assets.config import PROJECT_ROOT, Settings
from rtap_assets.errors import ConfigurationError, LocalStackError
from rtap_assets.local.lock import LOCK_NAME

MARKER_NAME = "rtap-state.txt"
MARKER_TEXT = "This folder holds the state of rtap. `rtap reset --yes` removes it with everything in it.\n"
PRIVATE = 0o700  # logs, events and the token of the stream host


def _known_entries(settings: Settings) -> set[str]:
    """Return the names that the platform itself puts into the state folder."""
    folders = [
        settings.lake_dir, settings.checkpoint_dir, settings.marts_path.parent, settings.export_dir.parent,
        settings.ledger_dir, settings.run_dir, settings.log_dir, settings.dagster_home, settings.streams_dir,
    ]  # fmt: skip
    return {folder.relative_to(settings.state_dir).parts[0] for folder in folders} | {
        "kafka", "registry", "jvm", "demo", "duckdb-tmp", LOCK_NAME, MARKER_NAME, ".DS_Store",
    }  # fmt: skip


def claim_state_dir(settings: Settings) -> None:
    """Make the folder for this user alone, and mark it as ours if it holds nothing foreign.

    Raises:
        ConfigurationError: it cannot be made or written.
    """
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        if not _strangers(settings):
            settings.state_dir.chmod(PRIVATE)  # one of an older version
            (settings.state_dir / MARKER_NAME).write_text(MARKER_TEXT, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"The state folder {settings.state_dir} cannot be written: {error.strerror}.",
            remedy="Change its owner or mode, make room, or point RTAP_STATE_DIR elsewhere.",
        ) from error


def require_state_dir(settings: Settings) -> None:
    """Check that the state folder is one, touching nothing.

    Raises:
        LocalStackError: it does not look like a state folder; the message says why.
    """
    folder = settings.state_dir
    reason = _reason_to_refuse(settings)
    if reason:
        raise LocalStackError(
            f"{folder} was not removed: {reason}.",
            remedy="Check RTAP_STATE_DIR; remove by hand what rtap did not put there.",
            path=folder,
        )


def remove_state_dir(settings: Settings) -> None:
    """Remove the state folder and all that is in it. Raises like `require_state_dir`, and removes nothing then."""
    require_state_dir(settings)
    shutil.rmtree(settings.state_dir)


def _reason_to_refuse(settings: Settings) -> str:
    folder = settings.state_dir
    if folder.is_symlink():
        return "it is a symbolic link"
    if not folder.is_dir():
        return "it is not a folder"
    real = folder.resolve()
    for protected in (PROJECT_ROOT, Path.home(), Path.cwd(), settings.cache_dir, settings.schemas_dir):
        if protected.resolve().is_relative_to(real):
            return f"it holds {protected}"
    strangers = _strangers(settings)
    if strangers and not (folder / MARKER_NAME).is_file():
        return f"it does not look like a state folder, since it holds {', '.join(strangers[:5])}"
    return ""


def _strangers(settings: Settings) -> list[str]:
    return sorted({entry.name for entry in settings.state_dir.iterdir()} - _known_entries(settings))
