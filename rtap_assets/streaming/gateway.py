"""Starts the JVM of Spark and connects PySpark to it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from py4j.java_gateway import JavaClass, JavaGateway, JVMView
from pyspark.java_gateway import launch_gateway
from pyspark.serializers import UTF8Deserializer, read_int

from rtap_assets.errors import StreamError

POLL_SECONDS = 0.02
# How PySpark is given the address of a JVM that runs, and its secret.
PORT, SECRET = "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"


class RememberingView(JVMView):  # type: ignore[misc]
    """A view of the JVM that looks each class up once.

    Py4J asks the JVM at each mention of a class. For a short name, of which PySpark mentions some in each statement, and for
    each package on the way to a class, the JVM then searches all jars a dozen times, in vain: a ninth of what the driver's
    threads cost at small batches. A dotted name (`getattr(jvm, "java.lang.System")`) is looked up as a whole.
    """

    def __getattr__(self, name: str) -> Any:
        """Return the class or package; called only for what is not remembered."""
        found = super().__getattr__(name)
        if isinstance(found, JavaClass):
            setattr(self, name, found)
        return found


def open_gateway(command: Sequence[str]) -> JavaGateway:
    """Start the JVM, wait until it answers and return PySpark's connection to it; it ends with this process.

    Raises:
        StreamError: it ended before it answered.
    """
    with tempfile.TemporaryDirectory(prefix="rtap-gateway-") as folder:
        answer = Path(folder) / "answer"
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closed when this process ends, however it ends: then the JVM ends, too
            env=os.environ | {"_PYSPARK_DRIVER_CONN_INFO_PATH": str(answer), "SPARK_CONNECT_MODE": "0"},
            preexec_fn=_ignore_interrupts,  # noqa: PLW1509 - nothing but this one call happens before the exec
        )
        while not answer.exists():
            if process.poll() is not None:
                process.communicate()  # closes the pipe
                raise StreamError(
                    f"The JVM of Spark ended with exit code {process.returncode} before it answered; its output is above.",
                    remedy="`rtap doctor` checks Java, jars and memory; RTAP_SPARK_DRIVER_MEMORY sets its heap.",
                )
            time.sleep(POLL_SECONDS)
        with answer.open("rb") as file:
            port, secret = read_int(file), UTF8Deserializer().loads(file)
    os.environ |= {PORT: str(port), SECRET: secret}
    try:
        gateway: Any = launch_gateway()
    finally:
        for name in (PORT, SECRET):
            del os.environ[name]
    gateway.proc = process
    gateway.jvm = RememberingView(gateway._gateway_client, jvm_name=gateway.jvm._jvm_name, id=gateway.jvm._id)
    return gateway


def _ignore_interrupts() -> None:
    """A Ctrl-C is this process's to handle: it stops the streams between batches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
