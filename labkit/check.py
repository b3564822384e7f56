"""Numbers confronted: measured beside published, a verdict a claim, an error where a judged claim is missed.

What is expected stands in `params/NOTEBOOK/expected.yaml`: for each claim its text, unit, published value, and for each
preset either a rule with its reason, or why it is not judged.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

from labkit.names import choose
from labkit.parameters import Settings, params_folder

Measured = float | Sequence[float] | pd.Series | None

_RULES = ("above", "below", "within", "exactly")


class ClaimMissed(AssertionError):
    """A judged claim was not met."""


def published(name: str) -> pd.DataFrame:
    """A table of published numbers, with provenance: the name of a CSV of `labkit/published`, such as "lth".

    Raises:
        ValueError: if there is no such table.
    """
    folder = files("labkit") / "published"
    tables = [entry.name.removesuffix(".csv") for entry in folder.iterdir() if entry.name.endswith(".csv")]
    with (folder / f"{choose('table', name, tables)}.csv").open() as file:
        table = pd.read_csv(file)
    for column in {"P_m_percent", "value"} & set(table):  # a few rows hold a range, such as 67.5..17.6, or "no"
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


@dataclass(frozen=True)
class Verdict:
    """One claim, judged or not."""

    claim: str
    text: str
    unit: str
    published: str
    measured: tuple[float, ...]
    rule: str
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
            rule = f"{row.rule}: {row.verdict}" if row.verdict != "not judged" else f"not judged, {row.reason}"
            lines.append(f"{row.claim}  {row.text}: {rule}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Verdicts({self.settings}: {len(self.rows)} claims)"

    def _repr_html_(self) -> str:
        colours = {"met": "#006d4f", "MISSED": "#b3261e", "not judged": "#666"}
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in
                       ("", "claim", "published", "measured", "rule", "reason", "verdict"))  # fmt: skip
        body = ""
        for row in self.rows:
            unit = f" {row.unit}" if row.unit else ""
            measured = _numbers(row.measured) + unit if row.measured else ""
            cells = [row.claim, row.text, row.published, measured, row.rule, row.reason]
            texts = "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in cells)
            body += f"<tr>{texts}<td style='color:{colours[row.verdict]};font-weight:bold'>{row.verdict}</td></tr>"
        return f"<table><caption>{html.escape(str(self.settings))}</caption><tr>{head}</tr>{body}</table>"


def compare(settings: Settings, measured: Mapping[str, Measured]) -> Verdicts:
    """Judge what was measured against what is expected of a notebook under its preset.

    Args:
        settings: the notebook run; where its parameters differ from the preset's, nothing is judged.
        measured: claim -> one number or one a seed; None or empty where it could not be measured, which is a miss
            where the preset judges the claim.

    Raises:
        ValueError: for a claim that the notebook's `expected.yaml` does not have, or one of it that is left out.
    """
    expected = yaml.safe_load((params_folder() / settings.notebook / "expected.yaml").read_text())
    for name in measured:
        choose("claim", name, expected)
    for name in expected:
        choose("claim (it is expected, but was not measured)", name, measured)
    return Verdicts(settings, [_judge(settings, name, entry, measured[name]) for name, entry in expected.items()])


def _judge(settings: Settings, name: str, entry: Mapping[str, Any], measured: Measured) -> Verdict:
    values = () if measured is None else tuple(float(v) for v in pd.Series(measured).tolist())
    rule: Mapping[str, Any] = entry[settings.preset]
    reason = rule.get("not_judged", "")
    if settings.changed:
        reason = f"{', '.join(settings.changed)} changed from the preset"
    text, met = _apply(rule, values, entry.get("unit", ""))
    if rule.get("of") == "every seed" and len(values) != len(settings.values["seeds"]):
        met = False  # a seed that diverged, or was not run, is a seed that does not meet the claim
    verdict = "not judged" if reason else ("met" if met else "MISSED")
    because = reason or rule["because"]
    return Verdict(name, entry["claim"], entry.get("unit", ""), str(entry["published"]), values, text, because, verdict)


def _apply(rule: Mapping[str, Any], values: Sequence[float], unit: str) -> tuple[str, bool]:
    kind = next((key for key in _RULES if key in rule), None)
    if kind is None:
        return "", False
    bound, of = rule[kind], rule.get("of", "mean")
    tests = {
        "above": lambda value: value > bound,
        "below": lambda value: value < bound,
        "within": lambda value: bound[0] <= value <= bound[1],
        "exactly": lambda value: value == bound,
    }
    shown = f"{bound[0]:g} to {bound[1]:g}" if kind == "within" else f"{bound:g}"
    mean = sum(values) / len(values) if values else float("nan")
    met = all(map(tests[kind], values)) if of in ("every seed", "each value") else tests[kind](mean)
    return f"{kind} {shown}{unit and ' ' + unit} ({of})", bool(values) and met


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}" for value in values) or "nothing"
