"""What two arms say of themselves: fallbacks, what isn't known, and whether their code differs."""

from collections.abc import Mapping

import pytest

from servegate.judging.arms import ArmReport, PairReport, collect_details

OPENVINO = {"server engine": "openvino", "server threads": "2"}


def report(base: Mapping[str, str], head: Mapping[str, str]) -> PairReport:
    return PairReport(ArmReport(base), ArmReport(head))


@pytest.mark.parametrize("name", ["fallback", "server fallback", "model fallback"])
@pytest.mark.parametrize("arm", ["base", "head"])
def test_a_fallback_of_either_arm_is_told_with_its_reason(arm: str, name: str) -> None:
    told = {"base": {}, "head": {}, arm: {**OPENVINO, name: "no GPU: runs on the CPU"}}
    expected = f"the {arm} runs otherwise than intended: no GPU: runs on the CPU"
    assert report(told["base"], told["head"]).fallback == expected


@pytest.mark.parametrize(
    "details",
    [{"server fallback": ""}, {"server fallback": "unknown"}, {"fallback engine": "eager"}, {"": "x"}, OPENVINO],
)
def test_without_a_reason_or_under_another_name_there_is_none(details: Mapping[str, str]) -> None:
    assert report(details, details).fallback is None


def test_the_details_of_all_pairs_are_told_by_arm_without_what_is_not_known() -> None:
    pairs = [
        report(
            {"model engine": "openvino", "model device": "unknown"}, {"model engine": "eager", "model fallback": ""}
        ),
        report({"server engine": "openvino"}, {}),
    ]
    assert collect_details(pairs) == {
        "base": {"model engine": "openvino", "server engine": "openvino"},
        "head": {"model engine": "eager"},
    }
    assert collect_details([]) == collect_details([report({}, {})]) == {}


@pytest.mark.parametrize(
    ("base", "head", "is_same"),
    [
        ({"a.py": "1"}, {"a.py": "1"}, True),
        ({"a.py": "1"}, {"a.py": "2"}, False),
        ({"a.py": "1"}, {"a.py": "1", "b.py": "1"}, False),
        ({}, {}, False),
    ],
)
def test_code_is_the_same_where_all_files_that_were_loaded_are(
    base: Mapping[str, str], head: Mapping[str, str], is_same: bool
) -> None:
    """Where no file was told of, nothing is known."""
    assert PairReport(ArmReport({}, base), ArmReport({}, head)).loads_same_code is is_same
