"""The process in which the MCP server reads the lake: bounded in memory, and killed when a query outlives its deadline.

DuckDB cannot interrupt a function that works on one enormous value. A process can be ended at any time, and this one only
reads. Run as `python -m rtap_assets.mcp.query_process`, a JSON document a line in both directions.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock
from typing import IO, Any

from rtap_assets.config import Settings, get_settings, settings_environment
from rtap_assets.errors import DependencyUnavailable, RtapError, ServingError
from rtap_assets.mcp.reading import READERS
from rtap_assets.serving.connection import open_lake
from rtap_assets.serving.query import GRACE_SECONDS, late_query

OPEN_SECONDS = 60.0  # the start of the process and the planning of the tables, on a busy machine
PART_FOR_DUCKDB = 2  # of the memory; the rest is Python's, and what DuckDB does not count
CHUNK_BYTES = 65_536


class QueryProcess:
    """Asks the process, starting it at the first use and after each end. One question at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = bytearray()
        self._lock = Lock()

    def ask(self, name: str, arguments: Mapping[str, Any], *, seconds: float) -> Any:
        """Return the answer of one reader.

        Raises:
            ServingError: it was refused, or the process was ended at the deadline or for lack of memory.
            DependencyUnavailable: the catalog did not answer.
        """
        process = self._started()
        question = json.dumps({"name": name, "arguments": dict(arguments), "seconds": seconds}) + "\n"
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: there is no answer either
            process.stdin.write(question.encode())
            process.stdin.flush()
        answer = self._answer(process, seconds=OPEN_SECONDS)
        if "is_open" in answer:
            answer = self._answer(process, seconds=seconds + GRACE_SECONDS, late=late_query(seconds))
        if "error" in answer:
            kind = DependencyUnavailable if answer["kind"] == DependencyUnavailable.__name__ else ServingError
            raise kind(answer["error"], remedy=answer["remedy"])
        return answer["result"]

    def _answer(
        self, process: subprocess.Popen[bytes], *, seconds: float, late: ServingError | None = None
    ) -> dict[str, Any]:
        line = self._line(process, seconds=seconds)
        if line is None:
            self.end()
            raise late or ServingError(f"The lake could not be opened within {seconds:g} s.", remedy="Try again.")
        if not line:
            self.end()
            raise ServingError(
                "The query was ended: it was cancelled, or its process ran out of memory or was killed.",
                remedy="Ask for less (fewer columns, an aggregate), or raise RTAP_MCP_MEMORY_MB.",
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _line(self, process: subprocess.Popen[bytes], *, seconds: float) -> bytes | None:
        """Return the next line; None when there is none in time, empty when the process has ended."""
        assert process.stdout is not None
        ends, descriptor = time.monotonic() + seconds, process.stdout.fileno()
        while b"\n" not in self._unread:
            left = ends - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            chunk = os.read(descriptor, CHUNK_BYTES)
            if not chunk:
                return b""
            self._unread += chunk
        line, _, rest = self._unread.partition(b"\n")
        self._unread = bytearray(rest)
        return bytes(line)

    def end(self) -> None:
        """Kill the process; the next question starts another."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            with process:  # closes the pipes and waits
                process.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._unread.clear()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "rtap_assets.mcp.query_process"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | settings_environment(self._settings),  # handed on, not read
                    start_new_session=True,
                )
            return self._process


def answer(settings: Settings, line: str, begin: Callable[[], None]) -> dict[str, Any]:
    """Return the answer to one question; `begin` is called once the lake is open, and its deadline counts from then."""
    question = json.loads(line)
    try:
        with open_lake(settings, memory_mb=settings.mcp_memory_mb // PART_FOR_DUCKDB) as connection:
            begin()
            return {"result": READERS[question["name"]](connection, question["arguments"], question["seconds"])}
    except RtapError as error:
        return {"error": error.message, "remedy": error.remedy, "kind": type(error).__name__}


def main(settings: Settings, source: IO[str], output: IO[str]) -> None:
    """Answer until the input ends: the server's end ends this process as well."""
    limit = settings.mcp_memory_mb * 1024 * 1024
    # Of private memory that is written to: address space is only reserved, by DuckDB and Arrow in large pieces.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    def send(document: Mapping[str, Any]) -> None:
        output.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
        output.flush()

    for line in source:
        send(answer(settings, line, lambda: send({"is_open": True})))


if __name__ == "__main__":
    main(get_settings(), sys.stdin, sys.stdout)
