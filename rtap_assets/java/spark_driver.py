"""The command line of Spark's driver: which Java, class path, heap and options.

The JVM is started straight away, without Spark's shell scripts: these run a JVM of their own only to build this line, and
put folders and doubled jars on the class path, with which no class-data archive can be used.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from rtap_assets.config import Settings
from rtap_assets.java.class_archive import archive_options
from rtap_assets.java.jars import jars_of, pyspark_jars
from rtap_assets.java.jvm import java_command

# Source: JavaModuleOptions of Spark 4.1.1, without the vector module, which the packaged Java lacks and which only speeds up
# some linear algebra. A test compares the list with the one in Spark's jar.
MODULE_OPTIONS = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.invoke=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.net=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.cs=ALL-UNNAMED",
    "--add-opens=java.base/sun.security.action=ALL-UNNAMED",
    "--add-opens=java.base/sun.util.calendar=ALL-UNNAMED",
    "--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dio.netty.allocator.type=pooled",
    "-Dio.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE",
    "--enable-native-access=ALL-UNNAMED",
)
OPTION_SETTINGS = ("spark.driver.defaultJavaOptions", "spark.driver.extraJavaOptions")


def spark_class_path(settings: Settings) -> list[Path]:
    """Return the jars of Spark and of its connectors, in the order of the class path.

    Raises:
        ConfigurationError: the connectors' jars have not been fetched.
    """
    connectors = jars_of(settings, "spark")
    # Before Hadoop's: a local file system that forks no process per file operation.
    early = [jar for jar in connectors if jar.name.startswith("hadoop-bare-naked-local-fs")]
    return [*early, *pyspark_jars(), *(jar for jar in connectors if jar not in early)]


def driver_command(settings: Settings, launched: Mapping[str, str]) -> list[str]:
    """Return the command that starts a driver for PySpark; `launched` are the settings that it must have from the start.

    Raises:
        ConfigurationError: no usable Java, or jars are missing.
    """
    java, jars = java_command(settings)[0], spark_class_path(settings)
    first = launched.get("spark.driver.extraClassPath", "")
    options = [option for name in OPTION_SETTINGS for option in shlex.split(launched.get(name, ""))]
    return [
        java,
        *("-cp", ":".join([*([first] if first else []), *map(str, jars)])),
        f"-Xmx{launched['spark.driver.memory']}",
        *([] if first else archive_options(settings, java=Path(java), class_path=jars)),
        *options,
        *MODULE_OPTIONS,
        "org.apache.spark.deploy.SparkSubmit",
        *(part for name, value in launched.items() for part in ("--conf", f"{name}={value}")),
        "pyspark-shell",
    ]
