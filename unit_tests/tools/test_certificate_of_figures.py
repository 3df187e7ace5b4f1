"""The certificate's part on figures, on pairs that are made up."""

from dataclasses import replace

import numpy as np
import pytest

from servegate.judging.figures.policy import DEFAULT_MARGINS, FigurePolicy
from servegate.records import Status
from tools.calibration.certificate.figures import certify_figures
from tools.calibration.pairs import PairRecord
from tools.calibration.simulation.figures import put_on_one_level, simulate_figures

POLICY = FigurePolicy()
ONE, TWO = {"api[concurrency=1]": 4.0}, {"api[concurrency=1]": 4.0, "api[concurrency=64]": 4.0}
NAMES = ("api tail", "api start", "model start")


def make_pairs(kind: str, count: int = 20, factor: float = 1.0, sd: float = 0.02) -> list[PairRecord]:
    """Pairs whose head has so many times the base's late requests."""
    rng = np.random.default_rng(count)
    empty = PairRecord(kind, "tree", "2026-01-01", 0.25, 4, {})
    return [
        replace(
            empty,
            figures={
                name: (
                    float(np.exp(rng.normal(0, sd))),
                    float(np.exp(rng.normal(0, sd))) * (factor if name == "api tail" else 1.0),
                )
                for name in NAMES
            },
        )
        for _ in range(count)
    ]


def test_identical_code_is_hardly_ever_regressed_and_ends_at_the_first_look() -> None:
    outcomes = simulate_figures(
        POLICY, make_pairs("same"), 300, np.random.default_rng(0), judged=NAMES, is_identical=True
    )
    assert not any(outcomes.are_any(Status.REGRESSED, Status.INCONCLUSIVE))
    assert set(outcomes.pairs) == {4}


def test_a_fault_is_found_at_its_first_look_by_its_figure() -> None:
    outcomes = simulate_figures(
        POLICY, make_pairs("late 1%", factor=1.5), 50, np.random.default_rng(0), judged=NAMES, is_identical=False
    )
    assert all(outcomes.are("api tail", Status.REGRESSED))
    assert not any(outcomes.are("api start", Status.REGRESSED))
    assert set(outcomes.pairs) == {8}


def test_each_recorded_run_is_put_on_one_level_and_ratios_stay() -> None:
    """An hour later the machine is twice as slow; growth is a difference, and stays as it was."""
    pair = replace(make_pairs("same", 1)[0], began="2026-01-01T10:00:00+00:00")
    fast = replace(pair, figures={"api cost": (4.0, 5.0), "api growth": (1.0, 2.0)})
    slow = replace(
        pair, began="2026-01-01T11:00:00+00:00", figures={"api cost": (16.0, 20.0), "api growth": (3.0, 4.0)}
    )
    levelled = [made.figures for made in put_on_one_level([*[fast] * 3, *[slow] * 3])]
    assert [figures["api cost"] for figures in levelled] == [pytest.approx((8.0, 10.0))] * 6
    assert [figures["api growth"] for figures in levelled] == [(1.0, 2.0)] * 3 + [(3.0, 4.0)] * 3


def test_figures_that_the_pairs_lack_share_the_error_level_all_the_same() -> None:
    """At eight groups, even full separation of eight processes is no finding: p = 0.00008 against 0.00006."""
    many = [*NAMES, *(f"group{number} tail" for number in range(7))]
    pairs = make_pairs("late 1%", factor=1.5)
    for judged, status in ((NAMES, Status.REGRESSED), (many, None)):
        outcomes = simulate_figures(POLICY, pairs, 20, np.random.default_rng(0), judged=judged, is_identical=False)
        assert (set(outcomes.pairs) == {8}) is (status is Status.REGRESSED)


def test_a_constant_difference_of_the_arms_is_no_difference_of_identical_code() -> None:
    """Which of the arms is which is drawn: recorded pairs say how far processes differ."""
    outcomes = simulate_figures(
        POLICY, make_pairs("same", factor=1.5), 200, np.random.default_rng(0), judged=NAMES, is_identical=True
    )
    assert np.mean(outcomes.are("api tail", Status.REGRESSED)) < 0.05


def test_the_certificate_has_false_alarms_and_what_finds_each_fault() -> None:
    by_kind = {
        "same": [*make_pairs("same", 20), replace(make_pairs("same")[0], figures={})],
        "late 1%": make_pairs("late 1%", 6, factor=1.5),
        "keeps 20 KB": make_pairs("keeps 20 KB", 3),
        "decode+25%": make_pairs("decode+25%", 6),
    }
    made = certify_figures(by_kind, POLICY, {}, 100, np.random.default_rng(0))
    assert made is not None
    assert made["recorded_pairs"] == {"same": 20, "late 1%": 6, "decode+25%": 6}
    assert made["identical_code"]["regressed"]["share"] == 0
    assert set(made["identical_code"]["figures"]) == set(NAMES)
    assert set(made["faults"]) == {"late 1%"}
    fault = made["faults"]["late 1%"]
    assert (fault["meant"], fault["found"]["share"], fault["median_pairs"]) == (["api tail"], 1.0, 8.0)
    assert fault["change"]["api tail"].startswith("+5")


def test_figures_that_the_gate_does_not_judge_are_left_out() -> None:
    """A recorded pair may have them, which a live run's pairs lack."""
    off = FigurePolicy({**DEFAULT_MARGINS, "model.start": None})
    live = [replace(pair, figures={name: pair.figures[name] for name in NAMES[:2]}) for pair in make_pairs("same", 10)]
    made = certify_figures({"same": [*make_pairs("same", 10), *live]}, off, {}, 20, np.random.default_rng(0))
    assert made is not None
    assert made["recorded_pairs"] == {"same": 20}
    assert set(made["identical_code"]["figures"]) == {"api tail", "api start"}


def test_figures_of_other_turns_are_left_out() -> None:
    """Late answers of two cells and of one aren't the same figure."""
    before, now = ([replace(pair, turns_s=turns_s) for pair in make_pairs("same", 10)] for turns_s in (TWO, ONE))
    made = certify_figures({"same": [*before, *now]}, POLICY, ONE, 20, np.random.default_rng(0))
    assert made is not None
    assert made["recorded_pairs"] == {"same": 10}


def test_of_several_faults_each_is_to_be_found() -> None:
    """The pairs show that the answers are late; none of them starts later."""
    late = make_pairs("all four", factor=3.0)
    made = certify_figures({"same": make_pairs("same"), "all four": late}, POLICY, {}, 100, np.random.default_rng(0))
    assert made is not None
    assert made["faults"]["all four"]["meant"] == ["api tail", "api start"]
    assert made["faults"]["all four"]["found"]["count"] == 0


def test_cost_and_start_are_raised_where_no_fault_raises_them() -> None:
    """By 10 %, and by 2 s: here a start takes 1 s. Each is found alone, by the figure that was raised."""
    calm = make_pairs("same", sd=0.005)
    same = [replace(pair, figures={**pair.figures, "api cost": pair.figures["api tail"]}) for pair in calm]
    made = certify_figures({"same": same}, POLICY, {}, 50, np.random.default_rng(0))
    assert made is not None
    assert set(made["added"]) == {"api start", "model start", "api cost"}
    assert all(added["found"]["share"] == 1.0 for added in made["added"].values())
    changes = {name: float(added["change"].removesuffix(" %")) for name, added in made["added"].items()}
    assert changes["api cost"] == pytest.approx(10, abs=1)
    assert changes["api start"] == pytest.approx(200, abs=3)


def test_a_start_that_varies_is_raised_by_five_standard_deviations() -> None:
    made = certify_figures({"same": make_pairs("same", 400, sd=0.5)}, POLICY, {}, 10, np.random.default_rng(0))
    assert made is not None
    assert 250 < float(made["added"]["api start"]["change"].split()[0]) < 350


def test_a_fault_is_described_by_the_figures_that_it_can_reach() -> None:
    """A live run has all of them; this fault is in the photos alone."""
    photos = [
        replace(pair, figures={**pair.figures, "photo cost": pair.figures["api tail"]})
        for pair in make_pairs("large photos in full", factor=3.0)
    ]
    same = [replace(pair, figures={**pair.figures, "photo cost": (1.0, 1.0)}) for pair in make_pairs("same")]
    made = certify_figures({"same": same, "large photos in full": photos}, POLICY, {}, 50, np.random.default_rng(0))
    assert made is not None
    fault = made["faults"]["large photos in full"]
    assert (fault["meant"], fault["also"]) == (["photo cost"], {})


def test_records_from_before_figures_make_no_such_part() -> None:
    old = [replace(pair, figures={}) for pair in make_pairs("same")]
    assert certify_figures({"same": old}, POLICY, {}, 10, np.random.default_rng(0)) is None
