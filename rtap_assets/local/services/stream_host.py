"""The stream host among the embedded services: its record, by which `rtap status` and `rtap down` know it.

It leaves the record itself, so it is known however it was started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from rtap_assets.config import Settings
from rtap_assets.errors import RtapError
from rtap_assets.host.launcher import host_output
from rtap_assets.host.process import stop_seconds
from rtap_assets.local.pid_files import ProcessRecord, forget, record_of, write_record

NAME = "stream-host"
TITLE = "Stream host"


@contextmanager
def recorded_host(settings: Settings) -> Iterator[Callable[[], None]]:
    """Yield a function that leaves this process's record. An end that was meant removes it; a crash does not.

    With a keeper, an error that is no end removes it neither: the keeper tries again.
    """
    try:
        yield lambda: write_record(settings, _own_record(settings))
    except RtapError as error:
        if error.context.get("has_ended") or not _is_kept(settings):
            _forget_own(settings)
        raise
    _forget_own(settings)


def _is_kept(settings: Settings) -> bool:
    keeper = record_of(settings, "keeper")
    return keeper is not None and keeper.process() is not None


def _forget_own(settings: Settings) -> None:
    record = record_of(settings, NAME)
    if record is not None and record.pid == os.getpid():
        forget(settings, record)


def _own_record(settings: Settings) -> ProcessRecord:
    process = psutil.Process()
    return ProcessRecord(
        service=NAME,
        title=TITLE,
        pid=process.pid,
        create_time=process.create_time(),
        address=f"{settings.streams_bind}:{settings.streams_port}",
        command=process.cmdline(),
        log_files=[
            str(host_output(settings)),
            str(settings.log_dir / "spark.log"),
            str(settings.log_dir / "stream-host.log"),
        ],
        stop_seconds=stop_seconds(settings),
    )
