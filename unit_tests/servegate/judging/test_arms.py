"""What two arms say of themselves: intended differences, fallbacks, and what isn't known."""

from collections.abc import Mapping

import pytest

from servegate.judging.arms import ArmReport, PairReport, describe_differing_details, describe_fallback, with_arms
from servegate.records import Status, Verdict

OPENVINO = {"server engine": "openvino", "server threads": "2"}


def report(base: Mapping[str, str], head: Mapping[str, str]) -> PairReport:
    return PairReport(ArmReport(base), ArmReport(head))


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        (OPENVINO, OPENVINO, None),
        (
            OPENVINO,
            {**OPENVINO, "server engine": "eager"},
            "server engine is openvino in the base and eager in the head",
        ),
        ({}, OPENVINO, None),
        ({"server engine": "unknown"}, OPENVINO, None),
        (OPENVINO, {"server engine": "unknown"}, None),
        ({"server fallback": "no GPU"}, {"server fallback": "no memory"}, None),
        (OPENVINO, {**OPENVINO, "server engine": "eager", "server fallback": "no compiler"}, None),
        (
            OPENVINO,
            {"server engine": "eager", "server threads": "1"},
            "server engine is openvino in the base and eager in the head, "
            "server threads is 2 in the base and 1 in the head",
        ),
    ],
)
def test_a_difference_is_one_that_both_tell(
    base: Mapping[str, str], head: Mapping[str, str], expected: str | None
) -> None:
    assert describe_differing_details(report(base, head)) == expected


@pytest.mark.parametrize("name", ["fallback", "server fallback", "model fallback"])
@pytest.mark.parametrize("arm", ["base", "head"])
def test_a_fallback_of_either_arm_is_told_with_its_reason(arm: str, name: str) -> None:
    told = {"base": {}, "head": {}, arm: {**OPENVINO, name: "no GPU: runs on the CPU"}}
    expected = f"the {arm} runs otherwise than intended: no GPU: runs on the CPU"
    assert describe_fallback([report({}, {}), report(told["base"], told["head"])]) == expected


@pytest.mark.parametrize("details", [{"server fallback": ""}, {"fallback engine": "eager"}, {"": "x"}, OPENVINO])
def test_without_a_reason_or_under_another_name_there_is_none(details: Mapping[str, str]) -> None:
    assert describe_fallback([report(details, details)]) is None
    assert describe_fallback([]) is None


def test_an_intended_difference_leads_the_verdicts_reason() -> None:
    pair = report(OPENVINO, {**OPENVINO, "server engine": "eager"})
    verdict = with_arms(Verdict(Status.REGRESSED, "-40 %", evidence=("pairs",)), [pair])
    assert verdict.reason == "server engine is openvino in the base and eager in the head; -40 %"
    assert verdict.evidence == ("pairs",)


def test_equal_code_is_evidence_where_all_pairs_loaded_it() -> None:
    same, changed = ({"service.py": "1"}, {"service.py": "1"}), ({"service.py": "1"}, {"service.py": "2"})
    equal, unequal = (PairReport(ArmReport({}, base), ArmReport({}, head)) for base, head in (same, changed))
    verdict = Verdict(Status.PASS, "equal")
    assert with_arms(verdict, [equal]).evidence == ("code     no Python file that the service loads differs",)
    for reports in ([], [equal, unequal], [unequal]):
        assert with_arms(verdict, reports) == verdict
