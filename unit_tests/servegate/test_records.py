"""The records' own arithmetic and how they read."""

import math
from dataclasses import replace

import pytest

from servegate.records import Cell, Change, Fingerprint
from unit_tests.builders.runs.samples import make_sample


def test_a_cell_reads_as_its_test_does() -> None:
    assert str(Cell("api", "concurrency", 8)) == "api[concurrency=8]"


def test_cells_sort_by_value_within_their_group() -> None:
    assert sorted([Cell("api", "concurrency", 32), Cell("api", "concurrency", 8)])[0].value == 8


@pytest.mark.parametrize(
    ("rounds_s", "throughput_per_s"), [((0.5, 0.5, 0.5), 16.0), ((0.5, 0.5, 60.0), 16.0), ((0.4, 0.6), 16.0)]
)
def test_throughput_is_that_of_the_median_round(rounds_s: tuple[float, ...], throughput_per_s: float) -> None:
    """A stall of a minute in one round moves nothing."""
    assert replace(make_sample(), rounds_s=rounds_s).throughput_per_s == pytest.approx(throughput_per_s)


@pytest.mark.parametrize(("answers", "failures", "rate"), [(10, 0, 1.0), (10, 3, 0.7), (3, 3, 0.0), (0, 0, 0.0)])
def test_success_rate(answers: int, failures: int, rate: float) -> None:
    """The share of right answers; no answer at all is no success."""
    sample = make_sample(answers=answers, failures=["wrong"] * failures)
    assert math.isclose(sample.success_rate, rate, abs_tol=1e-12)


def test_a_change_reads_in_percent_with_its_interval() -> None:
    assert str(Change(-0.1234, -0.2, 0.01)) == "-12.3% [-20.0%, +1.0%]"


@pytest.mark.parametrize(
    ("fingerprint", "machine_class"),
    [
        (Fingerprint("AMD EPYC", 2, None, 0), "amd-epyc-2-cores-no-gpu"),
        (Fingerprint("Neoverse-N1", 1, None, 0), "neoverse-n1-1-core-no-gpu"),
        (
            Fingerprint("Intel(R) Xeon(R) CPU @ 2.20GHz", 8, "NVIDIA L4", 1),
            "intel-r-xeon-r-cpu-2-20ghz-8-cores-1x-nvidia-l4",
        ),
        (
            Fingerprint("AMD EPYC 7R13/x", 96, "NVIDIA A10G + NVIDIA L4", 4),
            "amd-epyc-7r13-x-96-cores-4x-nvidia-a10g-nvidia-l4",
        ),
    ],
)
def test_the_machine_class_is_a_plain_folder_name(fingerprint: Fingerprint, machine_class: str) -> None:
    assert fingerprint.machine_class == machine_class


def test_only_hardware_makes_the_machine_class() -> None:
    """Driver, versions and settings are recorded and shown; they must not hide a slowdown in a class of its own."""
    plain = Fingerprint("AMD EPYC", 2, None, 0, {"torch": "2.1"})
    assert replace(plain, details={"torch": "2.2", "driver": "550"}).machine_class == plain.machine_class
