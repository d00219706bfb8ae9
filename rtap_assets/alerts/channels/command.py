"""A command of the operator's: the message as JSON on its standard input, success by exit code 0."""

from __future__ import annotations

import json
import os
import signal
import subprocess

from rtap_assets.alerts.channels.errors import DeliveryError
from rtap_assets.alerts.channels.webhook import plain
from rtap_assets.alerts.model import Message

OWN_PREFIX = "RTAP_"


def send(command: list[str], message: Message, *, seconds: float) -> None:
    """Run the command with the message; `RTAP_ALERT_KEY` in its environment is the same at each attempt.

    It gets the environment without the platform's settings, which hold secrets. Its output is not kept.

    Raises:
        DeliveryError: it could not be started, exited with another code than 0, or was ended at the deadline.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN_PREFIX)}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment | {"RTAP_ALERT_KEY": message.id},
            start_new_session=True,
        )
    except OSError as error:
        raise DeliveryError(f"could not be started ({error.strerror})") from None
    try:
        process.communicate(json.dumps(plain(message)).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise DeliveryError(f"did not end within {seconds:g} s") from None
    if process.returncode != 0:
        raise DeliveryError(f"ended with exit code {process.returncode}")
