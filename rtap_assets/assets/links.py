"""Links from an asset to the live page and to its entry in the runbook."""

from __future__ import annotations

from typing import Any

import dagster as dg

from rtap_assets.alerts.composing import runbook_page
from rtap_assets.config import Settings


def links(settings: Settings, heading: str) -> dict[str, Any]:
    """Return the metadata that link an asset: `heading` is one of the operations page.

    Without an address of the page its file is named, which the UI shows as text.
    """
    runbook = runbook_page(heading, settings)
    shown = dg.MetadataValue.url(runbook) if settings.runbook_url else dg.MetadataValue.text(runbook)
    page = {"live page": dg.MetadataValue.url(settings.page_address)} if settings.page_address else {}
    return {"runbook": shown, **page}
