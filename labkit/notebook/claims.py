"""Numbers confronted: measured beside published, a verdict a claim, an error where a judged claim is missed.

What is expected, and by which rule it is judged, stands in `params/NOTEBOOK/expected.yaml` (see `rules`).
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from labkit.ground.bounds import AtLeast, AtMost
from labkit.ground.names import choose
from labkit.notebook import rules
from labkit.notebook.rules import Claim, Rule
from labkit.notebook.settings import Settings, params_folder

Measured = float | Sequence[float] | pd.Series | None


class ClaimMissed(AssertionError):
    """A judged claim was not met."""


@dataclass(frozen=True)
class Verdict:
    """One claim, judged or not."""

    claim: str
    text: str
    unit: str
    published: str
    measured: tuple[float, ...]
    rule: str
    chance: str  # how often the rule passes by chance; "counted" where nothing is drawn
    reason: str
    verdict: str  # "met", "MISSED" or "not judged"


class Verdicts:
    """A table of verdicts. As text it is stable over machines: no measured number; as HTML it shows them all."""

    def __init__(self, settings: Settings, rows: Sequence[Verdict]):
        self.settings, self.rows = settings, list(rows)

    def settle(self) -> None:
        """Print the verdicts; raise if a judged claim was missed.

        Raises:
            ClaimMissed: naming each missed claim, its rule and what was measured.
        """
        print(self)
        if missed := [row for row in self.rows if row.verdict == "MISSED"]:
            raise ClaimMissed(
                "; ".join(f"{row.claim} ({row.text}): {row.rule}, measured {_numbers(row.measured)}" for row in missed)
            )

    def table(self) -> pd.DataFrame:
        """The verdicts as a data frame, for files."""
        return pd.DataFrame([{**vars(row), "measured": _numbers(row.measured)} for row in self.rows])

    def __str__(self) -> str:
        lines = []
        for row in self.rows:
            rule = f"{row.rule}, {row.chance}: {row.verdict}" if row.rule else row.verdict
            if row.verdict == "not judged":
                rule = f"not judged, {row.reason}"
            lines.append(f"{row.claim}  {row.text}: {rule}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Verdicts({self.settings}: {len(self.rows)} claims)"

    def _repr_html_(self) -> str:
        colours = {"met": "#006d4f", "MISSED": "#b3261e", "not judged": "#666"}
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in
                       ("", "claim", "published", "measured", "rule", "by chance", "reason", "verdict"))  # fmt: skip
        body = ""
        for row in self.rows:
            unit = f" {row.unit}" if row.unit else ""
            measured = _numbers(row.measured) + unit if row.measured else ""
            cells = [row.claim, row.text, row.published, measured, row.rule, row.chance, row.reason]
            texts = "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in cells)
            body += f"<tr>{texts}<td style='color:{colours[row.verdict]};font-weight:bold'>{row.verdict}</td></tr>"
        return f"<table><caption>{html.escape(str(self.settings))}</caption><tr>{head}</tr>{body}</table>"


def compare(
    settings: Settings, measured: Mapping[str, Measured], controls: Mapping[str, Measured] | None = None
) -> Verdicts:
    """Judge what was measured against what is expected of a notebook under its preset.

    Args:
        settings: the notebook run; where its parameters differ from the preset's, nothing is judged.
        measured: claim -> one number or one a seed (`bounds.AtLeast` or `AtMost` where it was cut off); None or empty
            where it could not be measured, which is a miss where the preset judges the claim.
        controls: of claims of equality: the same numbers of something that is known to differ. A rule that those meet
            too would not have noticed a difference, so the claim is then missed.

    Raises:
        ValueError: for a claim that the notebook's `expected.yaml` does not have, one of it that is left out, or a
            missing control.
    """
    expected, controls = rules.read(params_folder() / settings.notebook / "expected.yaml"), controls or {}
    for name in (*measured, *controls):
        choose("claim", name, expected)
    for name in expected:
        choose("claim (it is expected, but was not measured)", name, measured)
    return Verdicts(
        settings, [_judge(settings, name, claim, measured[name], controls) for name, claim in expected.items()]
    )


def _judge(
    settings: Settings, name: str, claim: Claim, measured: Measured, controls: Mapping[str, Measured]
) -> Verdict:
    values, rule = _values(measured), claim.rules[settings.preset]
    changed = f"{', '.join(settings.changed)} changed from the preset" if settings.changed else ""
    about = (name, claim.text, claim.unit, claim.published, values)
    if isinstance(rule, str):
        return Verdict(*about, "", "", changed or rule, "not judged")
    met, reason = rule.met(values), rule.because
    if rule.of == "every seed" and len(values) != len(settings.values["seeds"]):
        met = False  # a seed that diverged, or was not run, is a seed that does not meet the claim
    if rule.control:
        if name not in controls:
            raise ValueError(f"claim {name} is one of equality: controls must hold {name!r}, {rule.control}")
        control = _values(controls[name])
        fails = len(control) == len(values) and rule.missed(control)
        met = met and fails
        reason += f"; the control, {rule.control}, {'fails' if fails else 'does not fail'} it ({_numbers(control)})"
    verdict = "not judged" if changed else ("met" if met else "MISSED")
    return Verdict(*about, rule.text(claim.unit), _chance(rule), changed or reason, verdict)


def _chance(rule: Rule) -> str:
    if rule.chance is None:
        return "counted"
    return f"by chance {100 * rule.chance:.2g} %" if rule.chance >= 0.001 else "by chance < 0.1 %"


def _values(measured: Measured) -> tuple[float, ...]:
    if measured is None:
        return ()
    listed = measured if isinstance(measured, Sequence) else pd.Series(measured).tolist()
    return tuple(value if isinstance(value, AtLeast | AtMost) else float(value) for value in listed)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(map(_number, values)) or "nothing"


def _number(value: float) -> str:
    bound = "≥ " if isinstance(value, AtLeast) else "≤ " if isinstance(value, AtMost) else ""
    return bound + (f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}")
