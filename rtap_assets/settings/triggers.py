"""The trigger intervals of the streams, `RTAP_TRIGGER_<NAME>_SECONDS`: one setting per stream. Part of `config.Settings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, create_model
from pydantic_settings import BaseSettings

from rtap_assets.contracts.streams import STREAM_SPECS

if TYPE_CHECKING:

    class TriggerSettings(BaseSettings):
        """The fields `trigger_<name>_seconds`, one per stream of `contracts/streams.py`."""

else:
    TriggerSettings = create_model(
        "TriggerSettings",
        __base__=BaseSettings,
        **{
            f"trigger_{stream.name}_seconds": (
                float,
                Field(
                    stream.trigger_seconds_default,
                    ge=0,
                    description=f"Trigger interval of the stream {stream.name} in continuous mode, seconds.",
                ),
            )
            for stream in STREAM_SPECS
        },
    )
