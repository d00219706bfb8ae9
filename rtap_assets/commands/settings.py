"""The settings of a command: the one place where the command line reads them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from rtap_assets.config import Settings, get_settings

Returned = TypeVar("Returned")


def pass_settings(command: Callable[..., Returned]) -> Callable[..., Returned]:
    """Pass the settings first, read when the command runs: `--help` works while they are not valid."""

    @wraps(command)
    def with_settings(*arguments: Any, **options: Any) -> Returned:
        return command(command_settings(), *arguments, **options)

    return with_settings


def command_settings() -> Settings:
    """Return the settings that the caller gave the command as click's `obj`, else those of the process.

    Raises:
        ConfigurationError: a value is not valid, or a name is no setting.
    """
    context = click.get_current_context(silent=True)
    return (context and context.find_object(Settings)) or get_settings()
