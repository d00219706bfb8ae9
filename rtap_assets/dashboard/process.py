"""The dashboard's process: its parts put together on the real sources, served until it is asked to end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable

import uvicorn

from rtap_assets.config import Settings
from rtap_assets.dashboard.api import Api
from rtap_assets.dashboard.app import FeedOf, build_app
from rtap_assets.dashboard.feed import Feed
from rtap_assets.dashboard.hub import Hub
from rtap_assets.dashboard.revenue_messages import RevenueReader
from rtap_assets.dashboard.revenue_store import RevenueStore
from rtap_assets.dashboard.sources import HostWatch, MartsWatch
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.connections import ImpatientProtocol
from rtap_assets.kafka.topic_follower import TopicFollower
from rtap_assets.registry.client import Registry
from rtap_assets.serving.lake_reader import LakeReader
from rtap_assets.serving.marts_reader import MartsReader

STOP_SECONDS = 3
SOURCE_SECONDS = 3.0  # a broker, registry or catalog that answers later than this is shown as away


class DashboardProtocol(ImpatientProtocol):
    """Room for the viewers' connections, each of which stays open, besides those of programs."""

    most_connections = 512


class DashboardServer(uvicorn.Server):
    """A server that ends its viewers' streams when it is asked to end: they would hold it up until it is cut off."""

    def __init__(self, api: Api, *, feed_of: FeedOf) -> None:
        settings = api.hub.settings
        super().__init__(
            uvicorn.Config(
                build_app(api, feed_of=feed_of),
                host=settings.dashboard_bind,
                port=settings.dashboard_port,
                http=DashboardProtocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the peer decides whose header is believed
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._hub = api.hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.end()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serve page and API until SIGTERM or SIGINT."""
    _log_to_output()
    quick = settings.model_copy(update={"request_timeout_seconds": min(SOURCE_SECONDS, settings.request_timeout_seconds)})
    with StreamsClient(settings) as client:
        hub = Hub(settings, RevenueStore(settings.dashboard_hours))
        api = Api(hub, MartsReader(settings), LakeReader(quick), HostWatch(hub, client.statuses))
        DashboardServer(api, feed_of=lambda loop, marts: _feed(quick, hub, loop, marts)).run()


def _feed(settings: Settings, hub: Hub, loop: asyncio.AbstractEventLoop, marts: MartsWatch) -> Feed:
    return Feed(
        hub,
        RevenueReader(_schema_of(settings)),
        follow=lambda since: TopicFollower(settings, settings.topic_revenue, since=since),
        restarted=marts.look,
        loop=loop,
    )


def _schema_of(settings: Settings) -> Callable[[int], str | None]:
    registry = Registry(settings)

    def text_of(schema_id: int) -> str | None:
        found = registry.schema(str(schema_id))
        return None if found is None else found.text

    return text_of


def _log_to_output() -> None:
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    for name in ("rtap_assets", "uvicorn"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.WARNING)
