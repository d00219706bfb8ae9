"""The pulse of the JVM: silence is told after a while, and ends with the next answer. Time is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event

from polling import wait_until
from py4j.protocol import Py4JNetworkError

from rtap_assets.streaming.jvm_heartbeat import SILENCE_SECONDS, JvmHeartbeat

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
INTERVAL_SECONDS = 0.01
BOUND = timedelta(seconds=SILENCE_SECONDS + INTERVAL_SECONDS)
DEADLINE_SECONDS = 60


class Jvm:
    """One that answers, hangs or has gone, and a clock."""

    def __init__(self) -> None:
        self.now, self.asked, self.gone = NOON, 0, False
        self.thawed = Event()
        self.thawed.set()

    def clock(self) -> datetime:
        return self.now

    def ask(self) -> None:
        self.asked += 1
        if self.gone:
            raise Py4JNetworkError("Answer from Java side is empty")
        self.thawed.wait()


def test_a_frozen_jvm_is_silent_after_a_while_until_it_answers_again() -> None:
    jvm = Jvm()
    pulse = JvmHeartbeat(jvm.ask, interval_seconds=INTERVAL_SECONDS, clock=jvm.clock)
    assert pulse.silent_since(NOON + BOUND) is None
    assert pulse.silent_since(NOON + 2 * BOUND) == NOON + BOUND
    jvm.thawed.clear()
    pulse.start()
    wait_until(lambda: jvm.asked == 1, seconds=DEADLINE_SECONDS, what="it is asked")
    jvm.now = NOON + 3 * BOUND
    assert pulse.silent_since(jvm.now) == NOON + BOUND
    jvm.thawed.set()
    wait_until(lambda: pulse.silent_since(jvm.now) is None, seconds=DEADLINE_SECONDS, what="it answers again")
    pulse.close()


def test_a_jvm_that_has_gone_is_silent_and_the_thread_asks_on() -> None:
    jvm = Jvm()
    jvm.gone = True
    pulse = JvmHeartbeat(jvm.ask, interval_seconds=INTERVAL_SECONDS, clock=jvm.clock)
    pulse.start()
    wait_until(lambda: jvm.asked > 1, seconds=DEADLINE_SECONDS, what="it is asked again")
    jvm.now = NOON + 3 * BOUND
    assert pulse.silent_since(jvm.now) == NOON + BOUND
    jvm.gone = False
    wait_until(lambda: pulse.silent_since(jvm.now) is None, seconds=DEADLINE_SECONDS, what="it answers")
    pulse.close()
