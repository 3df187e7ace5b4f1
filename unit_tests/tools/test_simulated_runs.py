"""Simulated runs decide as live ones do, on noise that is as it was recorded or as it was said."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from servegate.judging.comparison import ComparisonJudge
from servegate.judging.estimators import Floats
from servegate.judging.pairs import PairFigure
from servegate.judging.policy import Policy
from servegate.records import Cell, Status
from tools.calibration.certificate.shares import interval_of, limit_share
from tools.calibration.simulation.conditions import CELLS as SYNTHETIC_CELLS
from tools.calibration.simulation.conditions import CONDITIONS, GROUPS, PLACES, SHAPES, Condition, certify_conditions
from tools.calibration.simulation.recorded_noise import RecordedNoise
from tools.calibration.simulation.simulate import PairTimes, simulate_runs
from unit_tests.builders.runs.recorded_pairs import CELL_S, JUDGED_CELLS, SCHEDULE, START_S, keep_api_cells, make_pairs
from unit_tests.builders.runs.samples import make_sample

MODEL, API_8, API_64 = JUDGED_CELLS
POLICY = Policy(groups=2, cells=len(JUDGED_CELLS))
NOTHING: Mapping[Cell, float] = {}


class KnownNoise:
    """Each run's pairs are known."""

    cells: Sequence[Cell] = JUDGED_CELLS
    times = PairTimes(START_S, (CELL_S,) * len(JUDGED_CELLS))

    def __init__(self, log_ratios: Floats, variances: Floats) -> None:
        self.log_ratios, self.variances = log_ratios, variances

    def draw(self, rng: np.random.Generator, runs: int, pairs: int) -> tuple[Floats, Floats]:
        assert self.log_ratios.shape[:2] == (runs, pairs)
        return self.log_ratios, self.variances


def make_noise(sd: Sequence[float], runs: int = 40, sd_by_blocks: float = 0.01) -> KnownNoise:
    """Pairs that differ by this much in each cell."""
    rng = np.random.default_rng(7)
    shape = (runs, POLICY.looks[-1], len(JUDGED_CELLS))
    variances = sd_by_blocks**2 * rng.chisquare(3, shape) / 3
    return KnownNoise(rng.standard_normal(shape) * np.array(sd), variances)


def judge_live(log_ratios: Floats, variances: Floats) -> tuple[list[Status], list[Status], float]:
    """Statuses of groups and cells and minutes, by a live run's judge that is given pair by pair what it asks for."""
    judge = ComparisonJudge(POLICY, JUDGED_CELLS)
    seconds = 0.0
    for number in range(POLICY.looks[-1]):
        for (group,), start_s in START_S.items():
            measured = judge.open_cells(group)
            seconds += start_s * bool(measured) + CELL_S * len(measured)
            places = [JUDGED_CELLS.index(cell) for cell in measured]
            judge.add(
                {
                    JUDGED_CELLS[place]: make_figure(log_ratios[number, place], variances[number, place])
                    for place in places
                }
            )
        if number + 1 in POLICY.looks:
            judge.look(last=number + 1 == POLICY.looks[-1])
        if not judge.is_any_open:
            break
    groups = [result.verdict.status for result in judge.compared_groups()]
    return groups, [comparison.verdict.status for comparison in judge.compared_cells().values()], seconds / 60


def make_figure(log_ratio: float, variance: float) -> PairFigure:
    """Two blocks with this mean; the variance of a mean of two is that of their difference over four."""
    half, sample = float(np.sqrt(variance)), make_sample()
    return PairFigure(log_ratio, (log_ratio - half, log_ratio + half), sample, sample, CELL_S)


@pytest.mark.parametrize("sd", [(0.005,) * 3, (0.02,) * 3, (0.005, 0.1, 0.005)])
@pytest.mark.parametrize("effect", [0.0, -0.015, -0.08, 0.03])
@pytest.mark.parametrize("slower", [JUDGED_CELLS, (API_64,)])
def test_a_simulated_run_and_a_live_one_with_the_same_figures_are_the_same(
    sd: Sequence[float], effect: float, slower: Sequence[Cell]
) -> None:
    noise = make_noise(sd, runs=6)
    effects = dict.fromkeys(slower, effect)
    outcomes = simulate_runs(POLICY, noise, effects, 6, np.random.default_rng(0))
    log_ratios = noise.log_ratios + np.array([effects.get(cell, 0.0) for cell in JUDGED_CELLS])
    for run in range(6):
        groups, cells, minutes = judge_live(log_ratios[run], noise.variances[run])
        assert outcomes.groups[run].tolist() == groups
        assert outcomes.cells[run].tolist() == cells
        assert outcomes.minutes[run] == pytest.approx(minutes)


def test_the_open_cell_of_a_group_that_improved_is_open_in_both() -> None:
    """Its blocks say that it is noisy, so that the group's mean hardly counts it."""
    noise = make_noise((0.001,) * 3, runs=1, sd_by_blocks=0.001)
    noise.log_ratios[..., 1] += 0.03
    noise.log_ratios[..., 2] = np.tile([0.4, -0.4], 11)
    noise.variances[..., 2] = 0.4**2
    outcomes = simulate_runs(POLICY, noise, NOTHING, 1, np.random.default_rng(0))
    groups, cells, _ = judge_live(noise.log_ratios[0], noise.variances[0])
    assert outcomes.groups[0].tolist() == groups == [Status.PASS, Status.IMPROVED]
    assert outcomes.cells[0].tolist() == cells
    assert cells[2] == Status.INCONCLUSIVE


def test_those_runs_have_every_verdict() -> None:
    """Else the test above would show little."""
    noise = make_noise((0.02, 0.02, 0.1))
    seen = [
        simulate_runs(POLICY, noise, {MODEL: effect}, 40, np.random.default_rng(0)) for effect in (0.0, -0.08, 0.08)
    ]
    wanted = {Status.PASS, Status.REGRESSED, Status.IMPROVED, Status.INCONCLUSIVE}
    assert set(np.concatenate([outcomes.groups for outcomes in seen]).ravel()) == wanted
    assert set(np.concatenate([outcomes.cells for outcomes in seen]).ravel()) == wanted


class TestMinutes:
    """What takes how long is known."""

    def test_identical_code_without_noise_ends_at_the_first_look(self) -> None:
        outcomes = simulate_runs(
            POLICY, make_noise((0.0,) * 3, sd_by_blocks=0.0), NOTHING, 40, np.random.default_rng(0)
        )
        assert set(outcomes.cells.ravel()) == {Status.PASS}
        assert outcomes.minutes == pytest.approx(POLICY.looks[0] * (10 + 20 + 3 * CELL_S) / 60)

    def test_a_group_that_is_decided_takes_no_more_time(self) -> None:
        """The model regresses at the first look, the noisy API is measured to the last."""
        noise = make_noise((0.0, 0.3, 0.3), sd_by_blocks=0.0)
        noise.variances[..., 1:] = 0.3**2
        outcomes = simulate_runs(POLICY, noise, {MODEL: -0.5}, 40, np.random.default_rng(0))
        api_open = (outcomes.groups[:, 1] == Status.INCONCLUSIVE).nonzero()[0]
        assert len(api_open) > 20
        wanted = (POLICY.looks[0] * (10 + CELL_S) + POLICY.looks[-1] * (20 + 2 * CELL_S)) / 60
        assert outcomes.minutes[api_open] == pytest.approx(wanted)

    def test_the_open_cell_of_a_group_that_passed_is_measured_alone(self) -> None:
        """Its blocks say that it is noisy, so that the group's mean hardly counts it."""
        noise = make_noise((0.0, 0.0, 0.0), sd_by_blocks=1e-4)
        noise.log_ratios[..., 2] = np.tile([0.4, -0.4], 11)
        noise.variances[..., 2] = 0.4**2
        outcomes = simulate_runs(POLICY, noise, NOTHING, 40, np.random.default_rng(0))
        assert set(outcomes.groups.ravel()) == {Status.PASS}
        assert set(outcomes.cells[:, 2]) == {Status.INCONCLUSIVE}
        first, others = POLICY.looks[0], POLICY.looks[-1] - POLICY.looks[0]
        wanted = (first * (10 + 20 + 3 * CELL_S) + others * (20 + CELL_S)) / 60
        assert outcomes.minutes == pytest.approx(wanted)


class TestRecordedNoise:
    """What runs are drawn from."""

    def test_drawn_pairs_have_the_recorded_spread(self) -> None:
        noise = RecordedNoise.from_pairs(make_pairs(30), JUDGED_CELLS, SCHEDULE, {})
        log_ratios, variances = noise.draw(np.random.default_rng(0), 400, 50)
        wanted = np.sqrt(np.mean(np.square(noise.log_ratios), axis=(0, 1)))
        assert log_ratios.std(axis=(0, 1)) == pytest.approx(wanted, rel=0.05)
        assert log_ratios.mean(axis=(0, 1)) == pytest.approx(0.0, abs=0.002)
        assert variances.mean(axis=(0, 1)) == pytest.approx(noise.variances.mean(axis=(0, 1)), rel=0.05)

    def test_a_recorded_pair_is_the_plain_mean_of_its_blocks_with_their_variance(self) -> None:
        recorded = make_pairs(5)
        noise = RecordedNoise.from_pairs(recorded, JUDGED_CELLS, SCHEDULE, {})
        blocks = np.array([[pair.cells[str(cell)].blocks for cell in JUDGED_CELLS] for pair in recorded])
        assert noise.log_ratios == pytest.approx(blocks.mean(-1)[:, None])
        assert noise.variances == pytest.approx(blocks.var(-1, ddof=1)[:, None] / 6)

    def test_of_a_pair_with_more_blocks_as_many_are_drawn_as_the_schedule_has(self) -> None:
        """Each way to choose them as often. The bursts that are left out take no time."""
        (recorded,) = make_pairs(1, noise=0.0)
        blocks = (0.0, 0.0, 0.0, 0.0, 0.0, 0.6)
        recorded = replace(
            recorded, cells={name: replace(cell, blocks=blocks) for name, cell in recorded.cells.items()}
        )
        noise = RecordedNoise.from_pairs([recorded], JUDGED_CELLS, replace(SCHEDULE, blocks=4), {})
        seen, counts = np.unique(noise.log_ratios.round(9), return_counts=True)
        assert seen == pytest.approx([0.0, 0.15])
        assert counts[1] / counts.sum() == pytest.approx(4 / 6)
        assert noise.variances.max() == pytest.approx(np.var((0.6, 0, 0, 0), ddof=1) / 4)
        assert noise.times.cell_s == pytest.approx([CELL_S - 2 * 4 * SCHEDULE.burst_s] * 3)
        assert noise.times.start_s == START_S

    def test_groups_that_share_processes_start_once(self) -> None:
        """A run that has decided one of them starts them for the other all the same."""
        (recorded,) = make_pairs(1)
        phone = Cell("photo", "kind", "phone")
        both = replace(recorded, cells={**recorded.cells, str(phone): recorded.cells[str(API_8)]})
        noise = RecordedNoise.from_pairs([both], (*JUDGED_CELLS, phone), SCHEDULE, {})
        assert noise.times.start_s == {("model",): 10.0, ("api", "photo"): 20.0}
        calm = KnownNoise(np.zeros((1, POLICY.looks[-1], 4)), np.full((1, POLICY.looks[-1], 4), 1e-4))
        calm.cells, calm.times = (*JUDGED_CELLS, phone), noise.times
        run = simulate_runs(replace(POLICY, groups=3, cells=4), calm, {}, 1, np.random.default_rng(0))
        first, others = POLICY.looks[0], POLICY.looks[-1] - POLICY.looks[0]
        assert run.minutes[0] == pytest.approx(first * (10.0 + 20.0 + 4 * CELL_S) / 60)
        calm.variances[0, :, 3] = 1.0  # photos stay open to the end
        run = simulate_runs(replace(POLICY, groups=3, cells=4), calm, {}, 1, np.random.default_rng(0))
        seconds = first * (10.0 + 20.0 + 4 * CELL_S) + others * (20.0 + CELL_S)
        assert run.minutes[0] == pytest.approx(seconds / 60)

    def test_a_burst_of_the_model_that_is_left_out_took_one_batch_at_least(self) -> None:
        """Batches of 8 at 10 images a second take 0.8 s; a request doesn't have to end within a burst."""
        (recorded,) = make_pairs(1)
        slow = {
            name: replace(cell, base_per_s=(10.0,) * 12, head_per_s=(10.0,) * 12, seconds=60.0)
            for name, cell in recorded.cells.items()
        }
        noise = RecordedNoise.from_pairs([replace(recorded, cells=slow)], JUDGED_CELLS, replace(SCHEDULE, blocks=4), {})
        assert noise.times.cell_s == pytest.approx([60 - 8 * 0.8, 60 - 8 * 0.3, 60 - 8 * 0.3])

    def test_turns_count_up_to_the_first_look_and_are_no_part_of_a_cells_time(self) -> None:
        """A record may have other turns than a run today; in a run a cell whose load sets the rate has some, too."""
        (recorded,) = make_pairs(1)
        taken = replace(recorded, turns_s={str(API_8): 3.0, str(API_64): 4.0})
        turns_s = {str(API_8): 7.0, "latency[load=70]": 8.0}
        for pair, (at_8_s, at_64_s) in ((recorded, (0.0, 0.0)), (taken, (3.0, 4.0))):
            noise = RecordedNoise.from_pairs([pair], JUDGED_CELLS, SCHEDULE, turns_s)
            assert noise.times.cell_s == pytest.approx([CELL_S, CELL_S - at_8_s, CELL_S - at_64_s])
            assert noise.times.turns_s == 15.0
        without, with_turns = (
            simulate_runs(POLICY, replace(noise, times=replace(noise.times, turns_s=turns_s)), {}, 1, generator)
            for turns_s, generator in ((0.0, np.random.default_rng(0)), (6.0, np.random.default_rng(0)))
        )
        assert with_turns.minutes[0] - without.minutes[0] == pytest.approx(POLICY.looks[0] * 6.0 / 60)

    def test_drawn_pairs_keep_the_correlation_between_cells(self) -> None:
        common = np.random.default_rng(1).standard_normal((40, 1, 1)) * 0.03
        ratios = np.repeat(common, len(JUDGED_CELLS), axis=2)
        noise = RecordedNoise(JUDGED_CELLS, ratios, np.zeros_like(ratios), PairTimes(START_S, (1.0,) * 3))
        log_ratios, _ = noise.draw(np.random.default_rng(0), 100, 10)
        assert np.asarray(np.corrcoef(log_ratios.reshape(-1, 3).T))[0, 1] == pytest.approx(1.0)

    def test_a_bootstrap_draws_whole_pairs(self) -> None:
        noise = RecordedNoise.from_pairs(make_pairs(20), JUDGED_CELLS, SCHEDULE, {})
        resampled = noise.resampled(np.random.default_rng(0))
        pairs = {tuple(pair[0]) for pair in noise.log_ratios}
        drawn = [tuple(pair[0]) for pair in resampled.log_ratios]
        assert set(drawn) < pairs
        assert len(drawn) == 20

    def test_cells_are_those_that_are_judged(self) -> None:
        noise = RecordedNoise.from_pairs(keep_api_cells(make_pairs(3)), (API_8, API_64), SCHEDULE, {})
        assert noise.log_ratios.shape == (3, 1, 2)
        assert noise.times == PairTimes({("api",): 20.0}, [CELL_S, CELL_S])


class TestConditions:
    """Synthetic machines are as they are said to be."""

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("correlation", [0.0, 0.8])
    def test_noise_has_its_spread_and_correlation(self, shape: str, correlation: float) -> None:
        condition = Condition("all cells", 0.02, shape, correlation)
        log_ratios, variances = condition.draw(np.random.default_rng(0), 4000, 22)
        assert log_ratios.std() == pytest.approx(np.hypot(0.02, 0.009), rel=0.1)
        assert log_ratios.mean() == pytest.approx(0.0, abs=1e-3)
        assert variances.mean() == pytest.approx(0.009**2, rel=0.02)
        found = np.asarray(np.corrcoef(log_ratios.reshape(-1, len(SYNTHETIC_CELLS)).T))
        assert found[0, 3] == pytest.approx(correlation * 0.02**2 / (0.02**2 + 0.009**2), abs=0.1)
        assert found[0, 4] == pytest.approx(0.0, abs=0.05)

    @pytest.mark.parametrize("place", PLACES)
    def test_noise_is_in_its_place(self, place: str) -> None:
        log_ratios, _ = Condition(place, 0.1, "normal", 0.0).draw(np.random.default_rng(0), 200, 22)
        noisy = log_ratios.std(axis=(0, 1)) > 0.05
        assert [cell for cell, is_noisy in zip(SYNTHETIC_CELLS, noisy, strict=True) if is_noisy] == list(PLACES[place])

    def test_processes_in_one_of_two_modes_have_pairs_without_a_difference(self) -> None:
        """Half of them; those in opposite modes have none."""
        for shape, wanted in (("two modes", 0.5), ("opposite modes", 0.0)):
            log_ratios, _ = Condition("one cell", 0.1, shape, 0.0).draw(np.random.default_rng(0), 1000, 10)
            assert np.mean(abs(log_ratios[..., 0]) < 0.02) == pytest.approx(wanted * 0.4, abs=0.06)

    def test_each_has_a_seed_of_its_own(self) -> None:
        assert len({condition.seed for condition in CONDITIONS}) == len(CONDITIONS)
        assert Condition("all cells", 0.01, "normal", 0.0).seed == 2008299240

    def test_the_table_says_how_often_identical_code_has_which_verdict(self) -> None:
        """A rule with a hundred times the error level accuses it; then the table says so."""
        loose = Policy(groups=len(GROUPS), cells=len(SYNTHETIC_CELLS), error_level=0.5)
        table = certify_conditions(loose, 20, lambda _: None)
        assert len(table["conditions"]) == len(CONDITIONS)
        noisy = [condition for condition in table["conditions"] if condition["sd"] == 0.1]
        assert max(condition["regressed"]["share"] for condition in noisy) > 0.2
        assert max(condition["improved"]["share"] for condition in noisy) > 0.2
        assert max(condition["inconclusive"]["share"] for condition in noisy) > 0.5


class TestShares:
    """Exact limits, against a published table."""

    def test_limits_hold_one_sided(self) -> None:
        """None of 100: at most 1 - 0.05 ** (1 / 100) at 95 % (the rule of three)."""
        share = limit_share(np.zeros(100, dtype=bool))
        assert (share.count, share.of, share.share, share.low) == (0, 100, 0.0, 0.0)
        assert share.high == pytest.approx(1 - 0.05**0.01, abs=1e-4)

    def test_an_interval_is_two_sided(self) -> None:
        share = interval_of(0, 100)
        assert share.high == pytest.approx(1 - 0.025**0.01, abs=1e-4)
