"""The Iceberg catalog, for Spark and for PyIceberg: one name, one address, so that both see the same tables.

Embedded it is a SQLite file in WAL mode; a PostgreSQL address (`jdbc:postgresql://…`) or a REST catalog (`http…`) takes its
place by configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.table import Table
from requests import RequestException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, ServingError
from rtap_assets.lake.drivers import require_drivers

CHECK_THE_CATALOG = "Check RTAP_CATALOG_URI, and that no other program holds the embedded catalog's file."
NOTHING_WAS_CHANGED = "Try again; nothing was changed."


def warehouse_uri(settings: Settings) -> str:
    """Return the address of the tables' files."""
    return settings.warehouse or f"file://{settings.lake_dir / 'warehouse'}"


def sqlite_path(settings: Settings) -> Path:
    """Return the path of the embedded catalog's file."""
    return settings.lake_dir / "catalog.db"


def spark_catalog_conf(settings: Settings) -> dict[str, str]:
    """Return the Spark settings that mount the catalog under `settings.catalog_name`.

    The cache is off: a table that is read often would otherwise stay on an old snapshot (apache/iceberg#14440).
    """
    prefix = f"spark.sql.catalog.{settings.catalog_name}"
    conf = {
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        f"{prefix}.warehouse": warehouse_uri(settings),
        f"{prefix}.cache-enabled": "false",
    }
    if settings.catalog_uri.startswith("http"):
        return conf | {f"{prefix}.type": "rest", f"{prefix}.uri": settings.catalog_uri}
    conf |= {f"{prefix}.type": "jdbc", f"{prefix}.jdbc.schema-version": "V1"}
    if settings.catalog_uri:
        return conf | {
            f"{prefix}.uri": settings.catalog_uri,
            f"{prefix}.jdbc.user": settings.catalog_user,
            f"{prefix}.jdbc.password": settings.catalog_password.get_secret_value(),
        }
    # A lock error is not retried by the catalog and would end the query: let SQLite wait instead.
    options = f"journal_mode=WAL&busy_timeout={round(settings.catalog_busy_seconds * 1000)}"
    return conf | {f"{prefix}.uri": f"jdbc:sqlite:{sqlite_path(settings)}?{options}"}


def open_catalog(settings: Settings) -> Catalog:
    """Return the same catalog for PyIceberg; creates the embedded file when it is missing.

    Raises:
        DependencyUnavailable: the catalog does not answer.
        ConfigurationError: a driver is missing.
    """
    require_drivers(settings)
    if settings.catalog_uri.startswith("http"):
        properties = {"type": "rest", "uri": settings.catalog_uri}
    elif settings.catalog_uri:
        properties = {"type": "sql", "uri": _sqlalchemy_url(settings)}
    else:
        settings.lake_dir.mkdir(parents=True, exist_ok=True)
        path = sqlite_path(settings)
        properties = {"type": "sql", "uri": f"sqlite:///{path}?timeout={settings.catalog_busy_seconds:g}"}
    with translated(settings.catalog_name):
        return load_catalog(settings.catalog_name, warehouse=warehouse_uri(settings), **properties)


@contextmanager
def catalog_session(settings: Settings, *, remedy: str = NOTHING_WAS_CHANGED) -> Iterator[Catalog]:
    """Open the catalog for the time of the block, whose commits and look-ups are translated too.

    Raises:
        DependencyUnavailable: the catalog does not answer, or another program changed the table at the same time.
        ConfigurationError: a driver is missing.
    """
    with translated(settings.catalog_name, remedy=remedy), open_catalog(settings) as catalog:
        yield catalog


@contextmanager
def translated(name: str, *, remedy: str = CHECK_THE_CATALOG) -> Iterator[None]:
    """Turn the errors of PyIceberg and its catalog inside the block into `DependencyUnavailable`; others pass through."""
    try:
        yield
    except CommitFailedException as error:
        raise DependencyUnavailable(
            f"Another program has changed the table at the same time: {error}.", remedy=remedy, dependency="catalog"
        ) from error
    except (SQLAlchemyError, RequestException) as error:
        raise DependencyUnavailable(
            f"The Iceberg catalog {name} did not answer: {error}.", remedy=remedy, dependency="catalog"
        ) from error


def load_table(catalog: Catalog, identifier: str) -> Table:
    """Return the table as of now.

    Raises:
        ServingError: there is no such table yet.
        DependencyUnavailable: the catalog does not answer.
    """
    try:
        with translated(catalog.name):
            return catalog.load_table(identifier)
    except NoSuchTableError as error:
        raise ServingError(
            f"There is no table {identifier} in the catalog.", remedy="Materialize the layers first: `rtap drain`."
        ) from error


def _sqlalchemy_url(settings: Settings) -> str:
    """Return the address as SQLAlchemy takes it; user and password may hold any character."""
    address = make_url(settings.catalog_uri.removeprefix("jdbc:")).set(drivername="postgresql+psycopg2")
    if settings.catalog_user:
        address = address.set(username=settings.catalog_user, password=settings.catalog_password.get_secret_value())
    return address.render_as_string(hide_password=False)
