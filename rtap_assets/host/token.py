"""The token that callers of the stream host show: a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError, DependencyUnavailable

TOKEN_BYTES = 32


def token_path(settings: Settings) -> Path:
    return settings.streams_dir / "token"


def ensure_token(settings: Settings) -> str:
    """The token, made when there is none. It is kept across restarts, so that a scraper that was given it goes on.

    The file appears complete and with its mode, or never; of two that make one at once, both get the same.

    Raises:
        ConfigurationError: others may read the file, or it belongs to another user.
    """
    path = token_path(settings)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".token.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(TOKEN_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was quicker
                os.link(fresh, path)  # unlike a rename, this never replaces a token that is already in use
        finally:
            fresh.unlink()
    return read_token(settings)


def read_token(settings: Settings) -> str:
    """The token as callers read it.

    Raises:
        DependencyUnavailable: no stream host was ever started on this state folder.
        ConfigurationError: others may read the file, or it belongs to another user.
    """
    path = token_path(settings)
    try:
        found = path.stat(follow_symlinks=False)
        token = path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise DependencyUnavailable(
            f"There is no token of a stream host in {path.parent}.",
            remedy="Start one with `rtap streams start`, or set RTAP_STATE_DIR to its state folder.",
            dependency="stream host",
        ) from error
    except PermissionError as error:
        raise ConfigurationError(f"{path} cannot be read.", remedy="Use the user that runs the stream host.") from error
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(
            f"{path} can be read by others or is not ours (mode {stat.S_IMODE(found.st_mode):o}, user {found.st_uid}).",
            remedy="Others may know the token: stop the stream host, remove the file and start it again.",
        )
    return token
