"""The end of `rtap demo` in plain words, in 80 columns: what was sent, how fast, revenue, what was refused, the proofs."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from rtap_assets.audit.report import Report, Section
from rtap_assets.contracts.rules import PLAN_TIERS
from rtap_assets.generator.options import GenerationReport

if TYPE_CHECKING:
    from rtap_assets.demo.outcome import Outcome, TierRevenue

WIDTH = 80
CURRENCIES_SHOWN = 4
REASONS_SHOWN = 5
TIERS = tuple(dict.fromkeys(PLAN_TIERS.values()))
PROOFS = {
    "Topic = bronze": "Every record of the topic is in bronze once, with the same verdict",
    "Bronze = silver": "Every valid event is in silver once, with the same values",
    "Silver = gold": "Every window of gold is the sum of its events, to the cent",
    "Generator's ledger": "What the generator meant to send is what arrived",
    "Dead-letter topic": "Every refused record is in the dead-letter topic",
}


def summary_lines(outcome: Outcome, sent: GenerationReport, proof: Report, *, corrected: tuple[int, int]) -> Iterator[str]:
    """Yield the lines of the whole picture; `corrected` are late rows added and later copies removed."""
    yield from _events(sent, corrected=corrected)
    yield ""
    yield from _pipeline(outcome)
    yield ""
    yield from _revenue(outcome)
    yield ""
    yield from _quarantined(outcome)
    yield ""
    yield from _checks(outcome)
    yield ""
    yield "Proof: the topic read again, and everything recomputed by other code"
    yield from map(proof_line, proof.sections)


def proof_line(section: Section) -> str:
    """Return one line about the comparison of two neighbors."""
    mark = "–" if section.incomplete else "✓" if section.holds else "✗"
    sentence = PROOFS.get(section.title, section.title)
    held = sum(line.equal for line in section.lines)
    return f"  {mark} {sentence:<67} {held:>2} of {len(section.lines)}".rstrip()


def _events(sent: GenerationReport, *, corrected: tuple[int, int]) -> Iterator[str]:
    late, copies = corrected
    speed = sent.intended / sent.seconds if sent.seconds else 0.0
    kinds = Counter(sent.by_kind)
    kinds.subtract(sent.aborted_by_kind)
    yield f"Events: {sent.intended:,} sent in {sent.seconds:.1f} s, {speed:,.0f} a second"
    yield from _wrapped(
        f"{kinds['good']:,} good, {kinds['duplicate']:,} sent twice, {kinds['bad']:,} broken; "
        f"{sent.aborted:,} more were in a transaction that was rolled back, and count for nothing"
    )
    yield from _wrapped(f"Corrected afterwards: {late:,} that came too late were added, {copies:,} later copies removed")


def _pipeline(outcome: Outcome) -> Iterator[str]:
    yield "Pipeline, layer by layer"
    for layer in outcome.layers:
        yield (
            f"  {layer.name:<8} {layer.rows:>10,} rows {layer.rows_per_second:>9,.0f} a second   "
            f"{layer.batch_seconds:>5.1f} s a batch"
        )
    yield from _wrapped(
        f"From the broker to silver: half of the events within {outcome.latency_p50_seconds:.0f} s, 99 % within "
        f"{outcome.latency_p99_seconds:.0f} s. Here the layers run one after the other, after all events were sent; "
        "in the live system they run at once."
    )


def _revenue(outcome: Outcome) -> Iterator[str]:
    currencies = _busiest(outcome.revenue)
    shown = currencies[:CURRENCIES_SHOWN]
    amounts: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for row in outcome.revenue:
        amounts[row.plan_tier][row.currency] = row.net_amount
    yield "Revenue by plan, refunds subtracted (currencies are never added up)"
    yield f"  {'':<11}" + "".join(f"{currency:>16}" for currency in shown)
    for tier in [*TIERS, *sorted(amounts.keys() - set(TIERS))]:
        cells = (amounts[tier].get(currency) for currency in shown)
        yield f"  {tier:<11}" + "".join("{:>16}".format("-" if cell is None else f"{cell:,.2f}") for cell in cells)
    if len(currencies) > len(shown):
        yield f"  and in {', '.join(currencies[len(shown) :])}"
    open_windows = (
        f"{outcome.provisional_windows} of them are provisional: later events may still change them"
        if outcome.provisional_windows
        else "all of them are final"
    )
    yield from _wrapped(f"{outcome.windows} windows of five minutes; {open_windows}")


def _quarantined(outcome: Outcome) -> Iterator[str]:
    total = sum(one.records for one in outcome.quarantined)
    yield f"Refused: {total:,} records, for {len(outcome.quarantined)} reasons, kept with their bytes"
    for one in outcome.quarantined[:REASONS_SHOWN]:
        room = WIDTH - 34
        meaning = one.explanation if len(one.explanation) <= room else f"{one.explanation[: room - 1].rstrip()}…"
        yield f"  {one.records:>6,}  {one.reason:<23} {meaning}"
    if (rest := len(outcome.quarantined) - REASONS_SHOWN) > 0:
        yield f"          and {rest} more reasons: `rtap demo --details`, `rtap dlq list`"


def _checks(outcome: Outcome) -> Iterator[str]:
    failed = outcome.failed_checks
    yield f"Data quality: {outcome.checks - len(failed)} of {outcome.checks} checks passed"
    for one in failed:
        yield f"  {one.severity:<6} {one.name}: {one.observed:.4g}, allowed {one.threshold:g}"
    if failed:
        yield from _wrapped("The demo's events are late, doubled and broken on purpose: these checks notice it.")


def _busiest(rows: Sequence[TierRevenue]) -> list[str]:
    orders = Counter[str]()
    for row in rows:
        orders[row.currency] += row.orders
    return sorted(orders, key=lambda code: (-orders[code], code))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
