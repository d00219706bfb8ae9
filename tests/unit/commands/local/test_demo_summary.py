"""The picture at the end of `rtap demo`: 80 columns, currencies apart, partial windows and failed checks mentioned."""

from __future__ import annotations

from decimal import Decimal

from rtap_assets.audit.report import Line, Report, Section
from rtap_assets.commands.local.demo_summary import PROOFS, WIDTH, proof_line, summary_lines
from rtap_assets.demo.outcome import FailedCheck, Layer, Outcome, Quarantined, TierRevenue
from rtap_assets.generator.options import GenerationReport

SENT = GenerationReport(
    run_id="run",
    intended=2_000_200,
    acknowledged=2_000_100,
    aborted=100,
    unknown=0,
    failed=0,
    seconds=60.0,
    by_kind={"good": 1_960_000, "duplicate": 20_100, "bad": 20_100},
    aborted_by_kind={"good": 99, "bad": 1},
)
CURRENCIES = ("EUR", "USD", "GBP", "INR", "JPY", "BRL")
OUTCOME = Outcome(
    layers=tuple(Layer(name, 123_456_789, 1_234_567.8, 123.4) for name in ("bronze", "dlq", "silver", "gold")),
    latency_p50_seconds=9.3,
    latency_p99_seconds=31.7,
    revenue=tuple(
        TierRevenue(tier, currency, Decimal("170374203.7649"), 100 - place)
        for tier in ("pro", "enterprise")
        for place, currency in enumerate(CURRENCIES)
    ),
    windows=13,
    provisional_windows=3,
    quarantined=tuple(Quarantined(f"reason_{number}", 50 - number, "An explanation. " * 9) for number in range(7)),
    checks=20,
    failed_checks=(FailedCheck("late_share", "warn", 0.0123456, 0.01),),
)
HELD = Line("a", "1", "1", equal=True)
PROOF = Report(tuple(Section(title, (HELD,) * 12) for title in PROOFS), compared=2_000_100, seconds=13.2)


def lines(outcome: Outcome = OUTCOME, proof: Report = PROOF) -> list[str]:
    return list(summary_lines(outcome, SENT, proof, corrected=(2_622, 99)))


def test_no_line_is_wider_than_80_columns() -> None:
    assert [line for line in lines() if len(line) > WIDTH] == []


def test_currencies_are_apart_and_those_without_room_are_named() -> None:
    text = "\n".join(lines())
    assert "pro          170,374,203.76" in text
    assert "  and in JPY, BRL" in text
    assert "  free                      -" in text


def test_provisional_windows_and_failed_checks_are_mentioned() -> None:
    text = "\n".join(lines())
    assert "13 windows of five minutes; 3 of them are provisional" in text
    assert "Data quality: 19 of 20 checks passed" in text
    assert "late_share: 0.01235, allowed 0.01" in text


def test_what_was_rolled_back_is_in_no_other_number() -> None:
    text = " ".join("\n".join(lines()).split())
    assert "2,000,200 sent" in text
    assert "1,959,901 good, 20,100 sent twice, 20,099 broken; 100 more were in a transaction" in text
    assert SENT.intended == 1_959_901 + 20_100 + 20_099 + 100


def test_corrected_rows_are_counted_once() -> None:
    assert "\n".join(lines()).count("2,622") == 1


def test_each_proof_is_one_line_that_says_whether_it_holds() -> None:
    assert [proof_line(section).strip()[0] for section in PROOF.sections] == ["✓"] * len(PROOFS)
    broken = Section("Silver = gold", (HELD, Line("b", "1", "2", equal=False)))
    assert proof_line(broken).split()[0] == "✗"
    assert proof_line(broken).endswith("1 of 2")
    assert proof_line(Section("Silver = gold", incomplete="gold has read nothing yet.")).strip().startswith("–")
