"""Clones of other commits of this repository, each with an environment of its own, kept between benches."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from rtap_assets.config import PROJECT_ROOT

FOLDER = Path(tempfile.gettempdir()) / "rtap-bench-clones"


def clone_of(ref: str, *, echo: Callable[[str], None]) -> Path:
    """Return a folder that holds the commit, set up as its own files say."""
    commit = subprocess.run(
        ["git", "rev-parse", "--verify", f"{ref}^{{commit}}"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = FOLDER / commit[:12]
    if not (folder / ".venv" / ".ready").exists():
        echo(f"setting up {ref} in {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(PROJECT_ROOT), str(folder)], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=folder, check=True)
        subprocess.run(["make", "setup"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder
