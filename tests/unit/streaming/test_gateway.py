"""A JVM that does not start."""

from __future__ import annotations

import os

import pytest

from rtap_assets.errors import StreamError
from rtap_assets.streaming.gateway import PORT, SECRET, open_gateway


def test_a_jvm_that_ends_before_it_answers_is_an_error_with_its_exit_code() -> None:
    with pytest.raises(StreamError, match="exit code 7"):
        open_gateway(["/bin/sh", "-c", "exit 7"])
    assert not {PORT, SECRET} & set(os.environ)
