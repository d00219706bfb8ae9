"""Answers of the API as they are sent, kept while their snapshot is the newest: equal requests cost one statement.

Bounded in number and bytes, the least recently used leaves first. The event loop alone uses it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

MOST_ANSWERS, MOST_BYTES = 256, 16 * 2**20


@dataclass(frozen=True)
class Answer:
    """One answer: what names its snapshot and form, its bytes, and the headers that are its own."""

    identity: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class KeptAnswers:
    """Answers by the identity of their snapshot and the request."""

    most_answers: int = MOST_ANSWERS
    most_bytes: int = MOST_BYTES
    size: int = 0
    _kept: OrderedDict[tuple[str, str], Answer] = field(default_factory=OrderedDict)
    _making: dict[tuple[str, str], asyncio.Task[Answer]] = field(default_factory=dict)

    async def get(self, identity: str, request: str, make: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return the answer to a request from a snapshot; `make` it once for all who ask meanwhile, even if one leaves.

        What `make` read from a newer snapshot is kept as an answer of that one.
        """
        key = (identity, request)
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return found
        if key not in self._making:
            self._making[key] = task = asyncio.create_task(self._made(request, make))
            task.add_done_callback(lambda _: self._making.pop(key))
        return await asyncio.shield(self._making[key])

    async def _made(self, request: str, make: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        answer = await make()
        key = (answer.identity, request)
        if len(answer.body) <= self.most_bytes and key not in self._kept:
            self._kept[key] = answer
            self.size += len(answer.body)
        while self.size > self.most_bytes or len(self._kept) > self.most_answers:
            _, dropped = self._kept.popitem(last=False)
            self.size -= len(dropped.body)
        return answer
