"""Reports a failure that no layer below has translated: one sentence, and the path of the stack trace."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from rtap_assets.commands.settings import command_settings
from rtap_assets.errors import ConfigurationError, RtapError, ServingError, StreamError

OF_SPARK = ("py4j", "pyspark")
OF_LAKE = ("duckdb", "_duckdb", "pyiceberg", "pyarrow", "sqlalchemy")
KEPT_CHARACTERS = 200_000


def explain(failure: Exception) -> RtapError:
    """Return the failure as an `RtapError`; its stack trace goes to `logs/failures.log` of the state folder."""
    log = _keep_trace(failure)
    module = type(failure).__module__.split(".")[0]
    if module in OF_SPARK or isinstance(failure, ConnectionError):
        from rtap_assets.streaming.failures import as_error

        return as_error(failure, log=log)
    if isinstance(failure, OSError) and failure.filename is not None:
        return ConfigurationError(
            f"{failure.filename}: {failure.strerror}.",
            remedy="Make it readable and writable for the user who runs this, or free space on its disk; then try again.",
        )
    if module in OF_LAKE:
        return ServingError(
            f"The lake could not be read: {_first_line(failure)}.", remedy=f"Try again; if it persists, see {log}."
        )
    return StreamError(
        f"The command failed unexpectedly: {type(failure).__name__}: {_first_line(failure)}.",
        remedy=f"The stack trace is in {log}; please report it.",
    )


def _keep_trace(failure: BaseException) -> str:
    """Append the stack trace to the log of failures; return the log's path."""
    try:
        path = command_settings().log_dir / "failures.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(traceback.format_exception(failure))[-KEPT_CHARACTERS:]
        _append(path, f"--- {datetime.now(UTC).isoformat(timespec='seconds')}\n{text}")
    except (OSError, ValidationError, RtapError) as error:
        return f"no file (it could not be written: {type(error).__name__})"
    return str(path)


def _append(path: Path, text: str) -> None:
    if path.exists() and path.stat().st_size > KEPT_CHARACTERS:
        path.replace(path.with_suffix(".log.1"))
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def _first_line(failure: Exception) -> str:
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0].rstrip(".:")[:300] if lines else "no message"
