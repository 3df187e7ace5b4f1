"""What two arms say of themselves: intended differences, fallbacks, and what isn't known."""

from collections.abc import Mapping

import pytest

from servegate.judging.arms import ArmReport, PairReport, describe_differing_details, describe_fallback

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
