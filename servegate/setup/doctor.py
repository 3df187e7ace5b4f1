"""`servegate doctor`: tries what a project's performance tests need, and says what this machine can tell apart."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict

from servegate.errors import ServegateError, SetupError
from servegate.judging.pairs import PairFigure
from servegate.load.deployed import Deployed
from servegate.measure.fresh_pairs import FreshPairs, PairPlan
from servegate.measure.http_targets import HttpTarget, OpenLoopTarget
from servegate.records import Cell, Checkout
from servegate.report.headline import describe_load
from servegate.session.machine_claim import claim_machine
from servegate.setup.collected import Collected, collect
from servegate.setup.obstacles import find_obstacles
from servegate.setup.resolution import GroupPairs, coarser, promise
from servegate.storage.arms import open_twins
from servegate.storage.carried import advise_to_carry
from servegate.telemetry.outside_load import OutsideLoad

_LEAST_PAIRS, _MOST_PAIRS = 3, 8
_ENOUGH_S = 60.0
_COARSE = 0.10


def run_doctor(paths: Sequence[str], tell: Callable[[str], None]) -> None:
    """Start the service once, ask it, and put identical code beside itself a few times.

    Parameters
    ----------
    paths:
        Files or folders with performance tests.
    tell:
        Takes a line for the user.

    Raises
    ------
    ServegateError
        When the service doesn't start, answers wrongly, or can't be compared; the message says what to do.
    """
    collected = collect(paths)
    settings = collected.settings
    tell(f"machine: {collected.machine.machine_class}")
    with (
        claim_machine("servegate doctor", settings.root, waits=settings.measuring.waits, progress=tell) or nullcontext()
    ):
        obstacles = find_obstacles(collected)
        _ask_services(collected, tell)
        if not collected.targets:
            raise SetupError("every group only informs (perf_informing), so that no run can judge anything")
        outside = OutsideLoad()
        groups, seconds = _measure(collected, outside, tell)
    for group in groups:
        tell(
            f"{group.cells[0].group}: fresh processes of identical code differ by {100 * group.spread:.1f} % "
            f"(standard deviation; {len(group.figures)} pairs)"
        )
    tell(f"a pair takes {seconds:.0f} s")
    if outside.found is not None:
        tell(f"{describe_load(asdict(outside.found))}; the promise holds where it is as quiet")
    policies = (collected.policy, coarser(collected.policy, _COARSE))
    for policy in policies:
        budget_s = collected.settings.judging.budget_s
        tell(str(promise(policy, groups, least_pairs=collected.figure_pairs, budget_s=budget_s)))
    tell("\nin the way:" if obstacles else "\nnothing stands in the way")
    for obstacle in obstacles:
        tell(f"- {obstacle}")
    tell(f"\nnext: change something, and  pytest {' '.join(paths)} --perf-versus HEAD")


def _ask_services(collected: Collected, tell: Callable[[str], None]) -> None:
    """Start each service once, and send it each of its requests."""
    root = collected.settings.root
    served = [target for target, _ in collected.targets if isinstance(target, HttpTarget | OpenLoopTarget)]
    services = []
    for target in served:
        if target.service not in services:
            services.append(target.service)
    for service in services:
        start_s = time.monotonic()
        with service.process(Checkout.working_tree(root)) as server:
            tell(f"service: ready after {time.monotonic() - start_s:.1f} s")
            for target in served:
                if target.service == service:
                    for requests in target.kinds:
                        Deployed(server.url).check(requests)
                        asked = dict.fromkeys(f"{request.method} {request.path}" for _, request in requests.parts)
                        tell(f"{target.name}: {', '.join(asked)} is answered as expected")


def _measure(collected: Collected, outside: OutsideLoad, tell: Callable[[str], None]) -> tuple[list[GroupPairs], float]:
    """A few pairs of the working tree and itself, and the seconds that one takes."""
    settings = collected.settings
    figures: dict[str, list[list[PairFigure]]] = {target.name: [] for target, _ in collected.targets}
    seconds = dict.fromkeys(figures, 0.0)
    start_s = time.monotonic()
    with open_twins(settings.root, carried=settings.project.carried) as arms:
        pairs = FreshPairs(arms.base, arms.head, settings.judging.schedule, watch=outside.watch)
        for number in range(_MOST_PAIRS):
            if number >= _LEAST_PAIRS and time.monotonic() - start_s > _ENOUGH_S:
                break
            for target, cells in collected.targets:
                tell(f"{target.name}: pair {number + 1} of identical code …")
                pair_start_s = time.monotonic()
                try:
                    measured = pairs.measure(target, PairPlan(bursts=cells, turns=cells))
                except ServegateError as error:
                    raise advise_to_carry(error) from None
                seconds[target.name] += time.monotonic() - pair_start_s
                figures[target.name].append([measured.figures[cell] for cell in cells])
    made = [
        _group(cells, figures[target.name], seconds[target.name] / len(figures[target.name]))
        for target, cells in collected.targets
    ]
    return made, sum(seconds.values()) / len(next(iter(figures.values())))


def _group(cells: Sequence[Cell], figures: Sequence[Sequence[PairFigure]], pair_s: float) -> GroupPairs:
    """Check that there is something to simulate from.

    Raises
    ------
    SetupError
        When an answer was wrong under load.
    """
    for pair in figures:
        for figure in pair:
            wrong = [*figure.head.failures, *figure.base.failures]
            if wrong:
                raise SetupError(f"under the load of {cells[pair.index(figure)]} an answer was wrong: {wrong[0]}")
    alone = GroupPairs(cells, figures, overhead_s=0.0)
    return GroupPairs(cells, figures, overhead_s=max(0.0, pair_s - float(alone.cell_s.sum())))
