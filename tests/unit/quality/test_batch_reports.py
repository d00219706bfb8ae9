"""Quality results leave the streams without making them wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

import pytest
from polling import wait_until
from quality_fixtures import silver_progress

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import ContractError, DependencyUnavailable, RtapError
from rtap_assets.quality.batch_reports import Publish, QualityReports
from rtap_assets.quality.catalog import DqResult

PROGRESS = silver_progress(read=10, kept=9, copies=1, late=0)


def connecting(published: list[DqResult], refusals: list[RtapError]) -> Callable[[Settings], Publish]:
    """A broker that refuses as often as there are refusals."""

    def publish(results: Sequence[DqResult]) -> None:
        if refusals:
            raise refusals.pop()
        published.extend(results)

    return lambda _: publish


def test_results_are_published_in_order() -> None:
    published: list[DqResult] = []
    reports = QualityReports(load_settings(), connect=connecting(published, []))
    queued = [*reports.report(PROGRESS), *reports.report(PROGRESS | {"batchId": 8})]
    assert reports.close(seconds=5) == 0
    assert published == queued


def test_results_wait_for_a_broker_that_is_away_and_then_leave_in_order() -> None:
    published: list[DqResult] = []
    away = [DependencyUnavailable("away"), DependencyUnavailable("away")]
    reports = QualityReports(load_settings(), connect=connecting(published, away), retry_seconds=0.01)
    queued = reports.report(PROGRESS)
    assert reports.close(seconds=5) == 0
    assert published == queued
    assert reports.dropped == 0


def test_a_refusal_that_waiting_cannot_mend_is_counted_and_the_next_batch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    published: list[DqResult] = []
    reports = QualityReports(load_settings(), connect=connecting(published, [ContractError("refused")]))
    lost = reports.report(PROGRESS)
    wait_until(lambda: reports.dropped == len(lost), seconds=5, what="the refusal is counted")
    queued = reports.report(PROGRESS | {"batchId": 8})
    assert reports.close(seconds=5) == 0
    assert published == queued
    assert "refused" in caplog.text


def test_a_report_never_waits_and_the_oldest_results_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtap_assets.quality.batch_reports.KEPT_RESULTS", 5)
    answered, asked = Event(), Event()

    def connect(_: Settings) -> Publish:
        asked.set()
        answered.wait(5)
        raise DependencyUnavailable("away")

    reports = QualityReports(load_settings(), connect=connect, retry_seconds=60)
    reports.report(PROGRESS)
    assert asked.wait(5)
    newest = [reports.report(PROGRESS | {"batchId": number}) for number in range(3)][-1]
    assert reports.dropped == 2 * len(newest)
    answered.set()
    assert reports.close(seconds=0.01) > 0
