"""What a catalog or a warehouse needs beyond the packages: found missing before anything waits for it.

The packages bring what the embedded catalog and files need. A driver that is missing looks like a catalog that is away.
"""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.java.jars import jars_of

# Settings of Spark that bring more jars.
JAR_SETTINGS = ("spark.jars", "spark.jars.packages", "spark.driver.extraClassPath")
LOCAL_SCHEMES = ("", "file")


def require_drivers(settings: Settings) -> None:
    """Check that drivers for the configured catalog and warehouse are there.

    Raises:
        ConfigurationError: one is missing; the message names it and the setting that needs it.
    """
    missing = missing_drivers(settings)
    if missing:
        raise ConfigurationError(
            " ".join(missing),
            remedy="Install what is named (jars: spark.jars or spark.jars.packages in RTAP_SPARK_EXTRA_CONF), or unset the "
            "setting: the embedded catalog and a local warehouse need neither.",
        )


def missing_drivers(settings: Settings) -> list[str]:
    """Return a sentence for each driver that is missing."""
    missing = []
    if settings.catalog_uri.startswith("jdbc:postgresql"):
        if find_spec("psycopg2") is None:
            missing.append("RTAP_CATALOG_URI names a PostgreSQL catalog, and the Python package psycopg2 is not installed.")
        if not _has_jar(settings, "postgresql"):
            missing.append("RTAP_CATALOG_URI names a PostgreSQL catalog, and Spark has no jar of PostgreSQL's JDBC driver.")
    scheme = urlsplit(settings.warehouse).scheme
    if scheme not in LOCAL_SCHEMES and not any(settings.spark_extra_conf.get(name) for name in JAR_SETTINGS):
        missing.append(
            f"RTAP_WAREHOUSE names an object store ({scheme}://), and Spark has no jar with a file system for it."
        )
    return missing


def _has_jar(settings: Settings, word: str) -> bool:
    added = " ".join(settings.spark_extra_conf.get(name, "") for name in JAR_SETTINGS)
    return word in added or any(word in jar.name for jar in jars_of(settings, "spark"))
