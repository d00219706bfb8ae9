"""The page's files: read once, compressed once, and named by their content, so that a browser asks for each one once."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from starlette.datastructures import Headers
from starlette.responses import Response

FOLDER = "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
PAGES = {"/": "index.html", "/api": "api.html"}


@dataclass(frozen=True)
class Asset:
    """One file as it is sent."""

    media_type: str
    body: bytes
    compressed: bytes
    etag: str

    def response(self, headers: Headers) -> Response:
        """Return the file, compressed where the browser takes that; 304 where it has it already."""
        common = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if self.etag in [one.strip().removeprefix("W/") for one in headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=common)
        if "gzip" in headers.get("accept-encoding", ""):
            return Response(self.compressed, media_type=self.media_type, headers=common | {"Content-Encoding": "gzip"})
        return Response(self.body, media_type=self.media_type, headers=common)


def load_assets() -> Mapping[str, Asset]:
    """Return the files by their path on the server."""
    folder = resources.files("rtap_assets.dashboard").joinpath(FOLDER)
    found = {f"/static/{name}": _asset(name, file) for name, file in _files(folder, "")}
    return found | {path: found[f"/static/{name}"] for path, name in PAGES.items()}


def _files(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _files(entry, f"{name}/")
        elif f".{name.rpartition('.')[2]}" in TYPES:
            found.append((name, entry))
    return found


def _asset(name: str, file: Traversable) -> Asset:
    body = file.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:32]
    return Asset(TYPES[f".{name.rpartition('.')[2]}"], body, gzip.compress(body, mtime=0), f'"{digest}"')
