"""Claims: what `params/NOTEBOOK/expected.yaml` expects of a notebook, by which rule it is judged under each preset.

A preset's entry (a notebook without a preset of `OPTIONAL` has none for it) is either `{not_judged: why}` or a rule:
`above`, `below`, `within` or `exactly` a bound, `of` the mean, every seed or each value, with `because`; its null
hypothesis `h0` (see `chance`), or `h0: counted` where nothing is drawn; and `chance`, how often it would pass if there
were nothing to find. A rule that passes more than one time in ten would judge nothing and is refused. Where the claim
is that two things are equal, `control` names a difference that must fail the rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from labkit.ground.bounds import AtLeast, AtMost
from labkit.ground.names import choose
from labkit.notebook import chance

PRESETS = ("smoke", "quick", "gpu", "paper")
OPTIONAL = ("gpu",)  # that not every notebook has: its results on one GPU, where `paper` takes weeks
COUNTED = "counted"
MOST = 0.10
ROUNDING = 0.006  # of a stated chance, and what the draws leave
OF = ("mean", "every seed", "each value")
_TESTS = {
    "above": lambda low, high, bound: low > bound,
    "below": lambda low, high, bound: high < bound,
    "within": lambda low, high, bound: (low >= bound[0]) & (high <= bound[1]),
    "exactly": lambda low, high, bound: (low == bound) & (high == bound),
}
_MISSES = {
    "above": lambda low, high, bound: high <= bound,
    "below": lambda low, high, bound: low >= bound,
    "within": lambda low, high, bound: (high < bound[0]) | (low > bound[1]),
    "exactly": lambda low, high, bound: (high < bound) | (low > bound),
}
_ENTRY = ("claim", "unit", "published", *PRESETS)
_RULE = (*_TESTS, "of", "because", "h0", "chance", "seen", "control")


@dataclass(frozen=True)
class Rule:
    """How a claim is judged under a preset.

    Attributes:
        kind: "above", "below", "within" or "exactly".
        bound: a number; two for "within".
        of: "mean", "every seed" or "each value".
        because: the reason of the bound.
        null: what would be measured if there were nothing to find; None where nothing is drawn.
        chance: how often the rule then passes, in [0, 0.1]; None where nothing is drawn.
        seen: where the null's spread was seen.
        control: the difference that must fail a rule of equality; "" where there is none.
    """

    kind: str
    bound: Any
    of: str
    because: str
    null: Mapping[str, Any] | None
    chance: float | None
    seen: str
    control: str

    def passes(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Whether values (..., n) between `low` and `high` meet the rule for certain, wherever in between they lie."""
        if self.of == "mean":
            return _TESTS[self.kind](low.mean(axis=-1), high.mean(axis=-1), self.bound)
        return _TESTS[self.kind](low, high, self.bound).all(axis=-1)

    def met(self, values: Sequence[float]) -> bool:
        """Whether measured values meet the rule; not if they are other than its chance was worked out for."""
        if not values or (self.null is not None and len(values) != self.null["values"]):
            return False
        return bool(self.passes(*_ends(values)))

    def missed(self, values: Sequence[float]) -> bool:
        """Whether values miss the rule for certain, wherever those that were cut off lie; not if one is unknown."""
        low, high = _ends(values)
        if not values or np.isnan(low).any():
            return False
        if self.of == "mean":
            low, high = low.mean(keepdims=True), high.mean(keepdims=True)
        return bool(_MISSES[self.kind](low, high, self.bound).any())

    def passes_by_chance(self) -> float:
        """The share of draws of the null that meet the rule; 0 where nothing is drawn."""
        if self.null is None:
            return 0.0
        drawn = chance.draw(self.null)
        return float(self.passes(drawn, drawn).mean())

    def text(self, unit: str) -> str:
        """The rule in words."""
        shown = f"{self.bound[0]:g} to {self.bound[1]:g}" if self.kind == "within" else f"{self.bound:g}"
        return f"{self.kind} {shown}{unit and ' ' + unit} ({self.of})"


def _ends(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Between which numbers values lie, of which some were cut off."""
    low = np.array([-np.inf if isinstance(value, AtMost) else value for value in values])
    return low, np.array([np.inf if isinstance(value, AtLeast) else value for value in values])


@dataclass(frozen=True)
class Claim:
    """A claim: its text, unit and published value; its rule under a preset, or why it is not judged."""

    text: str
    unit: str
    published: str
    rules: Mapping[str, Rule | str]


def read(path: Path) -> dict[str, Claim]:
    """The claims of a notebook, by name.

    Args:
        path: of its `expected.yaml`.

    Raises:
        ValueError: for an unknown key, a rule without a bound, a reason or its chance, or one that chance passes too
            often; names the claim and the preset.
    """
    found = {}
    for name, entry in yaml.safe_load(path.read_text()).items():
        try:
            found[name] = _claim(entry)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}, claim {name}: {error}") from error
    return found


def _claim(entry: Mapping[str, Any]) -> Claim:
    for key in entry:
        choose("key of a claim", key, _ENTRY)
    for key in ("claim", "published", *PRESETS):
        if key not in entry and key not in OPTIONAL:
            raise ValueError(f"{key!r} is missing")
    rules = {preset: _rule(preset, entry[preset]) for preset in PRESETS if preset in entry}
    return Claim(entry["claim"], entry.get("unit", ""), str(entry["published"]), rules)


def _rule(preset: str, entry: Mapping[str, Any]) -> Rule | str:
    if "not_judged" in entry:
        for key in entry:  # a reason with a comma in it, unquoted, ends at the comma; YAML makes a key of the rest
            choose(
                f"key beside 'not_judged' of {preset} (put a reason that holds a comma into quotes)",
                key,
                ["not_judged"],
            )
        return str(entry["not_judged"])
    for key in entry:
        choose(f"key of a rule of {preset}", key, _RULE)
    kinds = [kind for kind in _TESTS if kind in entry]
    if len(kinds) != 1:
        raise ValueError(f"{preset} needs one of {', '.join(_TESTS)}; it has {', '.join(kinds) or 'none'}")
    for key in ("because", "h0"):
        if not entry.get(key):
            raise ValueError(f"the rule of {preset} has no {key!r}")
    null = None if entry["h0"] == COUNTED else entry["h0"]
    rule = Rule(
        kinds[0], entry[kinds[0]], choose("'of'", entry.get("of", "mean"), OF), entry["because"], null,
        entry.get("chance"), entry.get("seen", ""), entry.get("control", ""),
    )  # fmt: skip
    _check_chance(preset, rule)
    return rule


def _check_chance(preset: str, rule: Rule) -> None:
    if rule.null is None:
        return
    if rule.kind == "within" and rule.null.get("mean") and not rule.control:
        raise ValueError(
            f"the rule of {preset} is of equality (its null is a difference): it needs a 'control' that fails"
        )
    if rule.chance is None or not rule.seen:
        raise ValueError(f"the rule of {preset} must say its 'chance' under the null, and where its spread was 'seen'")
    if not 0 <= rule.chance <= MOST:
        raise ValueError(
            f"the rule of {preset} passes by chance {rule.chance:.0%} of the time: at most {MOST:.0%} judges"
        )
    if abs(rule.chance - (found := rule.passes_by_chance())) > ROUNDING:
        raise ValueError(
            f"the rule of {preset} says that it passes by chance {rule.chance:.1%} of the time; it is {found:.1%}"
        )
