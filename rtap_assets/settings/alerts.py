"""Settings of alerts: channels, bounds, when and how often an alert is sent. Part of `config.Settings`."""

from __future__ import annotations

from email.utils import parseaddr
from typing import TYPE_CHECKING, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from rtap_assets.settings import rules
from rtap_assets.settings.quiet_hours import QuietHours
from rtap_assets.settings.webhooks import parse_webhooks

SEVERITIES = ("warning", "error")
SMTP_SECURITY = ("starttls", "tls", "none")


class AlertSettings(BaseSettings):
    """Where alerts go and what raises one. Times are in the unit the name ends with."""

    if TYPE_CHECKING:  # a field of the dashboard's settings
        dashboard_port: int

    # Channels
    alert_webhooks: SecretStr = Field(
        SecretStr(""),
        description="Webhooks that get alerts, several with a space between; slack: or teams: before one sets its form.",
    )
    alert_mail_to: list[str] = Field([], description="Mail addresses that get alerts, as a JSON list.")
    alert_mail_from: str = Field("rtap@localhost", description="Sender of the alerts' mails.")
    alert_smtp_host: str = Field("", description="Mail server for alerts; needed with RTAP_ALERT_MAIL_TO.")
    alert_smtp_port: int = Field(587, ge=1, le=65535, description="Port of the mail server.")
    alert_smtp_security: str = Field("starttls", description="starttls, tls (from the first byte) or none.")
    alert_smtp_username: str = Field("", description="User of the mail server. Empty: no login.")
    alert_smtp_password: SecretStr = Field(SecretStr(""), description="Password of that user.")
    alert_command: list[str] = Field(
        [], description="Command that gets alerts as JSON on its standard input: program and arguments, as a JSON list."
    )
    alert_timeout_seconds: float = Field(10, gt=0, le=30, description="Deadline of one delivery of an alert.")
    alert_retention_days: float = Field(
        7, gt=0, description="How long a message is kept and, where it could not be delivered, tried again."
    )
    page_url: str = Field(
        "", description="Address of the live page as its readers reach it, for links. Empty: the one on this machine."
    )
    runbook_url: str = Field("", description="Address of docs/operations.md as a page. Empty: alerts name the file.")

    # When
    alert_least_severity: str = Field("warning", description="Least severity that is sent: warning or error.")
    alert_hold_seconds: float = Field(60, ge=0, description="How long a condition must hold before it is an alert.")
    alert_recovery_seconds: float = Field(120, ge=0, description="How long it must be over before the recovery is sent.")
    alert_group_seconds: float = Field(30, ge=0, description="Alerts within this time of the first are one message.")
    alert_reminder_hours: float = Field(24, ge=0, description="An open alert is sent again after this time; 0: never.")
    alert_quiet_hours: str = Field(
        "", description="Hours in which warnings wait, such as 22:00-07:00 Europe/Berlin (UTC where no zone is named)."
    )

    # What
    alert_lag_seconds: float = Field(600, gt=0, description="A stream that is this far behind its source is a warning.")
    alert_dead_letters: int = Field(1_000, ge=0, description="More unreviewed dead letters than this are a warning.")
    alert_dead_letter_age_hours: float = Field(24, gt=0, description="An unreviewed dead letter this old is a warning.")
    alert_disk_free_share: float = Field(
        0.05, ge=0, lt=1, description="A disk with a smaller free share than this is a warning, with a fifth of it an error."
    )
    alert_daemon_seconds: float = Field(
        180, ge=60, description="Dagster's daemon is taken for dead when its heartbeat is this old."
    )

    @property
    def page_address(self) -> str:
        """The address of the live page: the one that its readers use, else the one on this machine."""
        return self.page_url or f"http://127.0.0.1:{self.dashboard_port}/"

    @field_validator("alert_webhooks")
    @classmethod
    def _webhooks(cls, value: SecretStr) -> SecretStr:
        parse_webhooks(value.get_secret_value())
        return value

    @field_validator("alert_mail_to")
    @classmethod
    def _mail_addresses(cls, value: list[str]) -> list[str]:
        for number, address in enumerate(value, start=1):
            if "@" not in parseaddr(address)[1] or not address.isprintable():
                raise ValueError(f'entry {number} is no mail address: write ["on-call@example.com"]')
        return value

    @field_validator("alert_mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1] or not value.isprintable():
            raise ValueError("write a mail address")
        return value

    @field_validator("alert_smtp_security")
    @classmethod
    def _security(cls, value: str) -> str:
        return rules.one_of(value, SMTP_SECURITY)

    @field_validator("alert_least_severity")
    @classmethod
    def _severity(cls, value: str) -> str:
        return rules.one_of(value, SEVERITIES)

    @field_validator("alert_quiet_hours")
    @classmethod
    def _quiet_hours(cls, value: str) -> str:
        QuietHours.parse(value)
        return value

    @field_validator("page_url", "runbook_url")
    @classmethod
    def _link(cls, value: str) -> str:
        return rules.web_address(value, credentials="a link needs none")

    @model_validator(mode="after")
    def _mail_needs_a_server(self) -> Self:
        if self.alert_mail_to and not self.alert_smtp_host:
            raise ValueError("RTAP_ALERT_MAIL_TO needs RTAP_ALERT_SMTP_HOST as well")
        return self
