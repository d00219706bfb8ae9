"""Settings of the dashboard: where it listens, who may look, how much it shows live. Part of `config.Settings`."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

LOOPBACK_NAME = "localhost"


class DashboardSettings(BaseSettings):
    """The page and its API are read-only; beyond loopback they ask for a token or for the word of a reverse proxy."""

    dashboard_port: int = Field(18080, ge=1, le=65535, description="Port of the dashboard and its HTTP API.")
    dashboard_bind: str = Field("127.0.0.1", description="Address that the dashboard listens on.")
    dashboard_allowed_hosts: list[str] = Field(
        [], description="Host names besides the loopback ones by which the dashboard may be called, as a JSON list."
    )
    dashboard_token: SecretStr = Field(
        SecretStr(""), description="Bearer token that readers of the dashboard's data show. Empty: none is asked for."
    )
    dashboard_user_header: str = Field(
        "", description="Header in which a reverse proxy names the user that it has let in, for example X-Forwarded-User."
    )
    dashboard_proxies: list[str] = Field(
        ["127.0.0.1", "::1"], description="Addresses of the reverse proxies whose header is believed, as a JSON list."
    )
    dashboard_hours: int = Field(
        6, ge=1, le=48, description="Hours of windows that the dashboard keeps live; older ones come from the marts."
    )

    @field_validator("dashboard_proxies")
    @classmethod
    def _proxy_addresses(cls, value: list[str]) -> list[str]:
        for one in value:
            try:
                ip_address(one)
            except ValueError as error:
                raise ValueError("write IP addresses, for example 10.0.0.5") from error
        return value

    @model_validator(mode="after")
    def _guarded_beyond_loopback(self) -> Self:
        has_guard = bool(self.dashboard_token.get_secret_value() or self.dashboard_user_header)
        if not has_guard and not _is_loopback(self.dashboard_bind):
            raise ValueError(
                "RTAP_DASHBOARD_BIND is reachable from other machines: set RTAP_DASHBOARD_TOKEN, or "
                "RTAP_DASHBOARD_USER_HEADER behind a reverse proxy that signs users in"
            )
        return self


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == LOOPBACK_NAME
