"""A JVM that does not start."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from py4j import protocol

from rtap_assets.errors import StreamError
from rtap_assets.streaming.gateway import PORT, SECRET, RememberingView, open_gateway


def test_a_jvm_that_ends_before_it_answers_is_an_error_with_its_exit_code() -> None:
    with pytest.raises(StreamError, match="exit code 7"):
        open_gateway(["/bin/sh", "-c", "exit 7"])
    assert not {PORT, SECRET} & set(os.environ)


class FakeClient:
    """Answers as Py4J does: `java.lang.System` is a class, everything else a package."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.converters: list[object] = []
        self.gateway_property = SimpleNamespace(pool=None)

    def send_command(self, command: str) -> str:
        name = command.splitlines()[2]
        self.asked.append(name)
        return f"{protocol.SUCCESS_CLASS}{name}" if name == "java.lang.System" else protocol.SUCCESS_PACKAGE


def test_a_class_is_looked_up_once_and_a_package_is_never_taken_for_one() -> None:
    client = FakeClient()
    view = RememberingView(client, jvm_name="default", id="rj")
    assert getattr(view, "java.lang.System") is getattr(view, "java.lang.System")
    assert view.org is not view.org, "a package may turn out to be a class once its jar is there"
    assert client.asked == ["java.lang.System", "org", "org"]
