"""The HTTP API for programs: revenue, windows, corrections, quality, dead letters, streams. `readings.py` says what.

Each answer has an ETag that names the snapshot it was read from: a program that asks again with it is sent 304 until the
marts were refreshed or the lake moved on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rtap_assets.contracts.rules import EXPLANATIONS
from rtap_assets.contracts.visible import visible
from rtap_assets.dashboard.hub import Hub
from rtap_assets.dashboard.readings import READINGS, Question, Reading, cursor_after
from rtap_assets.dashboard.representation import CHARSET, TYPES, Answer, KeptAnswers, Rows, chosen_type, written
from rtap_assets.dashboard.sources import HostWatch
from rtap_assets.quality.catalog import PASS_CHECKS
from rtap_assets.runtime.clock import from_microseconds
from rtap_assets.serving.lake_reader import LakeReader
from rtap_assets.serving.marts_reader import MartsReader
from rtap_assets.streaming.model.states import StreamStatus
from rtap_assets.streaming.model.wire import as_text

KINDS = ("rolling", "tumbling")
READERS = 4  # statements at a time: more would wait for the processor, and hold memory while they do
STREAM_TYPES = {"lag_records": "BIGINT", "last_batch_id": "BIGINT", "state_rows": "BIGINT", "state_bytes": "BIGINT"}


@dataclass
class Api:
    """The endpoints. Statements run in threads; the marts are swapped under them at any time."""

    hub: Hub
    marts: MartsReader
    lake: LakeReader
    host: HostWatch
    _limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READERS))
    _kept: KeptAnswers = field(default_factory=KeptAnswers)

    async def reading(self, request: Request) -> Response:
        """Answer one of the readings that has a path of its own."""
        return await self._answer(request, READINGS[request.url.path.removeprefix("/api/")])

    async def windows(self, request: Request) -> Response:
        """Answer the rolling or the tumbling windows."""
        kind = request.path_params["kind"]
        if kind not in KINDS:
            raise HTTPException(404, f"There are no {visible(kind, limit=40)} windows: ask for {' or '.join(KINDS)}.")
        return await self._answer(request, READINGS[kind])

    async def records(self, request: Request) -> Response:
        """Answer the quarantined records of one reason."""
        reason = request.path_params["reason"]
        if reason not in EXPLANATIONS:
            raise HTTPException(404, f"There is no reason code {visible(reason, limit=40)}; /api/dead-letters lists them.")
        return await self._answer(request, READINGS["records"], reason=reason)

    async def streams(self, request: Request) -> Response:
        """Answer the state of each stream as the stream host reports it; UNKNOWN past its validity."""
        kind = _type_of(request)
        if request.query_params:
            raise HTTPException(400, "This reading has no parameters.")
        await self.host.wanted()
        names = [one.name for one in fields(StreamStatus)]
        documents = [one.to_json() for one in self.hub.statuses()]
        rows = [tuple(_flat(document[name]) for name in names) for document in documents]
        types = tuple(STREAM_TYPES.get(name, _type_in(row[index] for row in rows)) for index, name in enumerate(names))
        found = Rows(tuple(names), types, rows, as_of=max((one["observed_at"] for one in documents), default=""))
        body = written(found, kind)
        etag = hashlib.sha256(body).hexdigest()[:32]
        return _response(request, kind, etag=etag, answer=Answer(etag, body, {"Rtap-As-Of": found.as_of} if rows else {}))

    async def _answer(self, request: Request, reading: Reading, **fixed: str) -> Response:
        kind = _type_of(request)
        if reading.from_lake:
            identity = await to_thread.run_sync(self.lake.identity, limiter=self._limiter)
        else:
            identity = self.marts.identity()
        if identity and _matches(request, etag := _etag(identity, kind)):
            Question.of(reading, request.query_params.multi_items(), fixed=fixed)  # what cannot be asked has no answer
            return _not_modified(etag)

        async def make() -> Answer:
            question = Question.of(reading, request.query_params.multi_items(), fixed=fixed)
            return await to_thread.run_sync(self._read, question, request.url, kind, limiter=self._limiter)

        answer = await self._kept.get(identity, f"{kind} {request.url.path}?{request.url.query}", make)
        return _response(request, kind, etag=_etag(answer.identity, kind), answer=answer)

    def _read(self, question: Question, url: URL, kind: str) -> Answer:
        with (self.lake if question.reading.from_lake else self.marts).reading() as (connection, identity):
            as_of = identity
            if not question.reading.from_lake:
                ((refreshed_us,),) = connection.execute("SELECT epoch_us(refreshed_at) FROM refresh").fetchall()
                as_of = as_text(from_microseconds(refreshed_us))
            connection.execute(question.sql, list(question.values))
            found = _rows(question, connection.description or [], connection.fetchall(), as_of=as_of)
        headers = {"Rtap-As-Of": as_of}
        if found.next_cursor:
            following = url.include_query_params(cursor=found.next_cursor)
            headers["Link"] = f'<?{following.query}>; rel="next"'  # a proxy may serve it under another path
        return Answer(identity, written(found, kind), headers)


def _rows(question: Question, description: Sequence[Any], rows: Sequence[tuple[Any, ...]], *, as_of: str) -> Rows:
    names, limit = [one[0] for one in description], question.limit
    width = len(names) - len(question.reading.computed_keys)
    columns, types = names[:width], [str(one[1]) for one in description][:width]
    shown = [row[:width] for row in rows[:limit]]
    following = cursor_after(question.reading, names, rows[limit - 1]) if len(rows) > limit else ""
    if (change := CHANGES.get(question.reading.name)) is not None:
        columns, types, shown = change(columns, types, shown)
    return Rows(tuple(columns), tuple(types), shown, as_of=as_of, next_cursor=following)


Table = tuple[list[str], list[str], list[tuple[Any, ...]]]


def _with_sentences(columns: list[str], types: list[str], rows: list[tuple[Any, ...]]) -> Table:
    """Add to each check's result what the check asks."""
    sentences = {check.key: check.sentence for check in PASS_CHECKS}
    at = {name: index for index, name in enumerate(columns)}
    found = [(*row, sentences.get((row[at["table_name"]], row[at["check_name"]]), "")) for row in rows]
    return [*columns, "sentence"], [*types, "VARCHAR"], found


def _made_visible(columns: list[str], types: list[str], rows: list[tuple[Any, ...]]) -> Table:
    """Write a record's own bytes so that nothing in them acts: escaped text, and hexadecimal digits."""
    key, value = columns.index("raw_key"), columns.index("raw_value")
    changed = []
    for row in rows:
        cells = list(row)
        cells[key], cells[value] = visible(row[key], limit=64), (row[value] or b"").hex(" ")
        changed.append(tuple(cells))
    kinds = ["VARCHAR" if index in {key, value} else kind for index, kind in enumerate(types)]
    return ["key" if name == "raw_key" else "value" if name == "raw_value" else name for name in columns], kinds, changed


CHANGES: dict[str, Callable[[list[str], list[str], list[tuple[Any, ...]]], Table]] = {
    "quality": _with_sentences,
    "records": _made_visible,
}


def _type_of(request: Request) -> str:
    kind = chosen_type(request.headers.get("accept", ""))
    if kind is None:
        raise HTTPException(406, f"Rows come as {', '.join(TYPES)}.")
    return kind


def _response(request: Request, kind: str, *, etag: str, answer: Answer) -> Response:
    if _matches(request, etag):
        return _not_modified(etag)
    headers = {**_headers(etag), **answer.headers, "Content-Type": f"{kind}{CHARSET[kind]}"}
    return Response(answer.body, headers=headers)


def _etag(identity: str, kind: str) -> str:
    return f"{identity}-{TYPES.index(kind)}"


def _headers(etag: str) -> dict[str, str]:
    return {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}


def _not_modified(etag: str) -> Response:
    return Response(status_code=304, headers=_headers(etag))


def _matches(request: Request, etag: str) -> bool:
    asked = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    return f'"{etag}"' in asked


def _flat(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _type_in(values: Any) -> str:
    kinds = {type(value) for value in values if value is not None}
    return "DOUBLE" if kinds and kinds <= {float, int} else "VARCHAR"
