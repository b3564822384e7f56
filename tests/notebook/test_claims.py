"""Claims: rules, how often chance passes them, and verdicts."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from labkit.ground.bounds import AtLeast, AtMost
from labkit.notebook import chance, claims, rules
from labkit.notebook.settings import Settings, preset_values

EXPECTED = sorted((Path(__file__).parents[2] / "params").glob("*/expected.yaml"))
COUNTED = {"because": "so", "h0": "counted"}
TOSSED = {"of": "each value", "because": "so", "h0": {"kind": "sign", "values": 4}, "chance": 0.0625, "seen": "coins"}


def written(tmp_path, monkeypatch, **entry):
    folder = tmp_path / "params" / "n"
    folder.mkdir(parents=True, exist_ok=True)
    entry = {
        "claim": "it works",
        "unit": "pp",
        "published": 1,
        "quick": {"not_judged": "-"},
        "paper": {"not_judged": "-"},
    } | entry
    (folder / "expected.yaml").write_text(yaml.safe_dump({"C": entry}))
    monkeypatch.setenv("LABKIT_PARAMS", str(tmp_path / "params"))
    return folder / "expected.yaml"


def judged(tmp_path, monkeypatch, rule, measured, changed=(), **controls):
    written(tmp_path, monkeypatch, smoke=rule)
    return claims.compare(Settings("n", "smoke", {"seeds": [0, 1]}, tuple(changed)), {"C": measured}, **controls)


@pytest.mark.parametrize(
    ("rule", "measured", "verdict"),
    [
        ({"above": 0.5}, [0.4, 0.8], "met"),
        ({"above": 0.5, "of": "every seed"}, [0.4, 0.8], "MISSED"),
        ({"above": 0.5}, pd.Series([0.1, 0.2]), "MISSED"),
        ({"within": [0, 1]}, 0.5, "met"),
        ({"within": [0, 1]}, 1.5, "MISSED"),
        ({"below": 2}, [1.0], "met"),
        ({"exactly": 3}, 3, "met"),
        ({"exactly": 3}, 3.001, "MISSED"),
        ({"above": 0.5}, [float("nan")], "MISSED"),
        ({"above": 0.5, "of": "every seed"}, [0.8], "MISSED"),  # of two seeds
        ({"above": 0.5}, [], "MISSED"),
        ({"above": 0.5}, None, "MISSED"),
        ({"not_judged": "too few seeds"}, [9.0], "not judged"),
    ],
)
def test_verdicts(tmp_path, monkeypatch, capsys, rule, measured, verdict):
    rule = rule if "not_judged" in rule else rule | COUNTED
    verdicts = judged(tmp_path, monkeypatch, rule, measured)
    assert verdicts.rows[0].verdict == verdict
    if verdict == "MISSED":
        with pytest.raises(claims.ClaimMissed, match="C .it works.: .*measured"):
            verdicts.settle()
    else:
        verdicts.settle()
    printed = capsys.readouterr().out
    assert "it works" in printed and "0.8" not in printed, "stable text: no measured number"
    assert "it works" in verdicts._repr_html_() and len(verdicts.table()) == 1


def test_changed_parameters_are_shown_not_judged(tmp_path, monkeypatch):
    verdicts = judged(tmp_path, monkeypatch, {"above": 5} | COUNTED, 1, changed=["levels"])
    assert "levels changed from the preset" in str(verdicts) and verdicts.rows[0].verdict == "not judged"


def test_claims_must_be_the_expected_ones(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown claim 'D'"):
        judged(tmp_path, monkeypatch, {"above": 5} | COUNTED, 1)
        claims.compare(Settings("n", "smoke", {}, ()), {"D": 1})
    with pytest.raises(ValueError, match="was not measured"):
        claims.compare(Settings("n", "smoke", {}, ()), {})


@pytest.mark.parametrize(
    ("rule", "measured", "verdict"),
    [
        ({"above": 2}, [AtLeast(2.5), 3.0], "met"),  # certainly above
        ({"above": 2}, [AtLeast(1.5), 3.0], "MISSED"),  # perhaps
        ({"below": 4}, [AtLeast(2.5), 3.0], "MISSED"),
        ({"within": [2, 4]}, [AtLeast(2.5), 3.0], "MISSED"),
        ({"below": 4}, [AtMost(2.5), 3.0], "met"),
        ({"above": 2, "of": "mean"}, [AtLeast(1.0), 3.5], "met"),  # the mean is 2.25 or more
        ({"above": 2, "of": "mean"}, [AtMost(9.0), 3.5], "MISSED"),
    ],
)
def test_a_number_that_was_cut_off_meets_a_rule_only_for_certain(tmp_path, monkeypatch, rule, measured, verdict):
    verdicts = judged(tmp_path, monkeypatch, {"of": "each value"} | rule | COUNTED, measured)
    assert verdicts.rows[0].verdict == verdict
    shown = "≥" if isinstance(measured[0], AtLeast) else "≤"
    assert shown in verdicts.table()["measured"][0] and shown in verdicts._repr_html_()


def test_a_rule_of_equality_without_a_control_is_refused(tmp_path, monkeypatch):
    rule = {"within": [-1, 1], "because": "b", "h0": {"kind": "difference", "values": 1, "spread": 0.1, "mean": 3}}
    with pytest.raises(ValueError, match=r"claim C: the rule of smoke is of equality .* needs a 'control'"):
        judged(tmp_path, monkeypatch, rule | {"chance": 0, "seen": "here"}, [0.1])


def test_equality_is_missed_where_its_control_would_pass_too(tmp_path, monkeypatch):
    rule = {"within": [-1, 1], "control": "something else"} | COUNTED
    with pytest.raises(ValueError, match="claim C is one of equality: controls must hold 'C', something else"):
        judged(tmp_path, monkeypatch, rule, [0.1])
    for control, verdict in (([3.0], "met"), ([0.5], "MISSED"), ([], "MISSED"), ([3.0, 3.0], "MISSED"),
                             ([math.nan], "MISSED"), ([AtMost(3.0)], "MISSED"), ([AtLeast(3.0)], "met")):  # fmt: skip
        row = judged(tmp_path, monkeypatch, rule, [0.1], controls={"C": control}).rows[0]
        assert row.verdict == verdict, control
    assert (
        "the control, something else, fails it (3)"
        in judged(tmp_path, monkeypatch, rule, [0.1], controls={"C": [3.0]}).rows[0].reason
    )


def test_a_rule_of_chance_wants_as_many_values_as_its_chance_was_worked_out_for(tmp_path, monkeypatch):
    rule = {"above": 0} | TOSSED
    assert judged(tmp_path, monkeypatch, rule, [1.0] * 4).rows[0].verdict == "met"
    assert judged(tmp_path, monkeypatch, rule, [1.0] * 3).rows[0].verdict == "MISSED", "three of three: 12.5 %"
    assert "by chance 6.2 %" in str(judged(tmp_path, monkeypatch, rule, [1.0] * 4))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"not_judged": "a small network on other data", "150 iterations": None},
            "unknown key beside 'not_judged'.*150 it",
        ),
        ({"abve": 1} | COUNTED, "unknown key of a rule of smoke 'abve': did you mean 'above'"),
        ({"above": 1, "below": 2} | COUNTED, "needs one of .*; it has above, below"),
        ({"above": 1, "h0": "counted"}, "no 'because'"),
        ({"above": 1, "because": "so"}, "no 'h0'"),
        ({"above": 1, "of": "seeds"} | COUNTED, "unknown 'of' 'seeds': did you mean 'every seed'"),
        ({"above": 1} | TOSSED | {"chance": None}, "must say its 'chance'"),
        ({"above": 1} | TOSSED | {"seen": ""}, "where its spread was 'seen'"),
        ({"above": 1} | TOSSED | {"chance": 0.125}, "passes by chance 12% of the time: at most 10% judges"),
        ({"above": 0} | TOSSED | {"chance": 0.01}, r"says that it passes by chance 1.0% of the time; it is 6"),
    ],
)
def test_what_cannot_judge_is_refused_before_anything_is_measured(tmp_path, monkeypatch, rule, message):
    path = written(tmp_path, monkeypatch, smoke=rule)
    with pytest.raises(ValueError, match=f"claim C: .*{message}"):
        rules.read(path)


def test_unknown_and_missing_keys_of_a_claim_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown key of a claim 'quik': did you mean 'quick'"):
        rules.read(written(tmp_path, monkeypatch, smoke={"not_judged": "-"}, quik={}))
    with pytest.raises(ValueError, match="'smoke' is missing"):
        rules.read(written(tmp_path, monkeypatch))


@pytest.mark.parametrize(
    ("null", "message"),
    [
        ({"kind": "diference", "values": 3}, "unknown kind of null 'diference': did you mean 'difference'"),
        ({"kind": "difference", "values": 3}, "takes values, spread, mean"),
        ({"kind": "sign", "values": 3, "spread": 1}, "unknown argument of the null 'sign' 'spread'"),
        ({"kind": "sign"}, "values of the null is None"),
    ],
)
def test_a_wrong_null_is_refused(null, message):
    with pytest.raises(ValueError, match=message):
        chance.draw(null)


def passing(bound, null, kind="above", of="each value"):
    return rules.Rule(kind, bound, of, "", null, None, "", "").passes_by_chance()


def test_chances_by_closed_form():
    def normal(z):
        return (1 + math.erf(z / math.sqrt(2))) / 2

    near = pytest.approx
    assert passing(0, {"kind": "sign", "values": 3}) == near(1 / 8, abs=0.01)
    assert passing(0.5, {"kind": "difference", "values": 1, "spread": 0.5}) == near(normal(-1), abs=0.01)
    assert passing(0.5, {"kind": "difference", "values": 4, "spread": 1}, of="mean") == near(normal(-1), abs=0.01)
    assert passing([-1, 1], {"kind": "difference", "values": 1, "spread": 1, "mean": 2}, "within") == near(
        normal(-1) - normal(-3), abs=0.01
    )
    assert passing(math.e, {"kind": "ratio", "values": 1, "spread": 1.0}) == near(normal(-1), abs=0.01)
    assert passing(0, {"kind": "order", "values": 4}) == near(1 / math.factorial(5), abs=0.003)
    assert passing(0.79, {"kind": "share", "values": 1, "levels": 5}) == near(2 / 6, abs=0.01)
    assert passing(0, {"kind": "best_gain", "values": 1, "spread": 1.0, "levels": 4}) == near(4 / 5, abs=0.01)
    assert passing(1, {"kind": "best_speed", "values": 2, "spread": 0.3, "levels": 4}) == near((4 / 5) ** 2, abs=0.015)


def test_the_better_of_two_is_no_judgement():
    """Of three methods that are alike the better of two beats the third by its sign two times in three."""
    drawn = np.random.default_rng(0).normal(size=(10_000, 3))
    assert (drawn[:, 1:].max(axis=1) > drawn[:, 0]).mean() == pytest.approx(2 / 3, abs=0.02)
    assert passing(0, {"kind": "best_gain", "values": 1, "spread": 0.2, "levels": 2}) > rules.MOST


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.parent.name)
def test_committed_rules_state_the_chance_that_they_have(path):
    for name, claim in rules.read(path).items():
        for preset, rule in claim.rules.items():
            if isinstance(rule, str) or rule.null is None:
                continue
            if rule.of == "every seed":
                seeds = preset_values(path.parent.name, preset)["seeds"]
                assert rule.null["values"] == len(seeds), (name, preset)
