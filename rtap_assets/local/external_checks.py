"""Whether what runs elsewhere answers with these settings: a broker, a registry, a catalog. Embedded ones are not asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rtap_assets.config import Settings
from rtap_assets.errors import RtapError
from rtap_assets.kafka.clients import Admin
from rtap_assets.lake.catalog import open_catalog
from rtap_assets.lake.drivers import require_drivers
from rtap_assets.local.doctor import Check
from rtap_assets.registry.client import Registry


def check_external(settings: Settings) -> Iterator[Check]:
    """Return whether each external part answers; one that does not would stop the streams."""
    if not settings.uses_embedded_broker:
        yield _check("Kafka broker", settings.bootstrap_servers, lambda: _ask_broker(settings))
    if not settings.uses_embedded_registry:
        yield _check("Registry", settings.schema_registry_url, lambda: _ask_registry(settings))
    if settings.catalog_uri or settings.warehouse:
        yield _check("Drivers", "catalog and warehouse have theirs", lambda: require_drivers(settings))
    if settings.catalog_uri:
        yield _check("Catalog", settings.catalog_uri, lambda: _ask_catalog(settings))


def _check(name: str, where: str, ask: Callable[[], None]) -> Check:
    try:
        ask()
    except RtapError as error:
        return Check(name, ok=False, finding=error.message, fix=error.remedy)
    return Check(name, ok=True, finding=where)


def _ask_broker(settings: Settings) -> None:
    admin = Admin(settings)
    with admin.translated("list the topics"):
        admin.client.list_topics(timeout=admin.timeout_seconds)


def _ask_registry(settings: Settings) -> None:
    Registry(settings).versions(settings.events_subject)


def _ask_catalog(settings: Settings) -> None:
    open_catalog(settings).list_namespaces()
