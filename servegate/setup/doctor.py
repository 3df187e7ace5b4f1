"""`servegate doctor`: tries what a project's performance tests need, and says what this machine can tell apart."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict

from servegate.errors import SetupError
from servegate.load.deployed import Deployed
from servegate.measure.http.targets import HttpTarget, OpenLoopTarget
from servegate.records import Checkout
from servegate.report.headline import describe_load
from servegate.session.machine_claim import claim_machine
from servegate.setup.collected import Collected, collect
from servegate.setup.identical_pairs import measure_identical
from servegate.setup.obstacles import find_obstacles
from servegate.setup.resolution import coarser, promise
from servegate.telemetry.outside_load import OutsideLoad

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
    if not collected.targets:
        raise SetupError("no run can judge throughput here: every group informs (perf_informing) or has its rate given")
    settings = collected.settings
    tell(f"machine: {collected.machine.machine_class}")
    with (
        claim_machine("servegate doctor", settings.root, waits=settings.measuring.waits, progress=tell) or nullcontext()
    ):
        obstacles = find_obstacles(collected)
        _ask_services(collected, tell)
        outside = OutsideLoad()
        groups = measure_identical(collected, outside.watch, tell)
    for group in groups:
        tell(
            f"{group.cells[0].group}: fresh processes of identical code differ by {100 * group.spread:.1f} % "
            f"(standard deviation; {len(group.figures)} pairs)"
        )
    pair_s = sum(group.pair_s for group in groups)
    first_s = pair_s + sum(group.turns_s for group in groups)
    later = f", and {pair_s:.0f} s after the first {collected.policy.looks[0]}" if first_s > pair_s else ""
    tell(f"a pair takes {first_s:.0f} s{later}")
    if outside.found is not None:
        tell(f"{describe_load(asdict(outside.found))}; the promise holds where it is as quiet")
    for policy in (collected.policy, coarser(collected.policy, _COARSE)):
        made = promise(policy, groups, least_pairs=collected.figure_pairs, budget_s=settings.judging.budget_s)
        tell(str(made))
    tell("\nin the way:" if obstacles else "\nnothing stands in the way")
    for obstacle in obstacles:
        tell(f"- {obstacle}")
    tell(f"\nnext: change something, and  pytest {' '.join(paths)} --perf-versus HEAD")


def _ask_services(collected: Collected, tell: Callable[[str], None]) -> None:
    """Start each service once, send it each of its requests, and check the answers."""
    root = collected.settings.root
    targets = [target for target, _ in (*collected.targets, *collected.at_given_rate)]
    served = [target for target in targets if isinstance(target, HttpTarget | OpenLoopTarget)]
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
