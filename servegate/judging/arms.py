"""What the two arms of a pair ran: the code, and what their processes said of engine, precision, device and the like.

The gate knows none of these details. A project's processes name them, and two words have a meaning: a detail whose name
ends with `fallback` says why the process runs otherwise than intended, and the value `unknown` is as good as none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from servegate.records import Verdict

_FALLBACK = "fallback"
_UNKNOWN = "unknown"
_SAME_CODE = "code     no Python file that the service loads differs"


@dataclass(frozen=True)
class ArmReport:
    """What one arm of a pair ran.

    Attributes
    ----------
    details:
        What its process said of itself, as in {"server engine": "openvino"}.
    loaded:
        SHA-256 of each Python file of the project that its processes loaded, by the path within the checkout.
    """

    details: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)

    @property
    def fallback(self) -> str | None:
        """Why the arm runs otherwise than its own process intended; None where it says nothing of the kind."""
        reasons = [text for name, text in self.details.items() if _is_fallback(name) and text]
        return "; ".join(reasons) or None


@dataclass(frozen=True)
class PairReport:
    """What both arms of a pair ran."""

    base: ArmReport
    head: ArmReport

    @property
    def loads_same_code(self) -> bool:
        """Whether no Python file that the service loads differs; False where neither arm told of any."""
        return bool(self.base.loaded) and self.base.loaded == self.head.loaded

    @property
    def differing_details(self) -> dict[str, tuple[str, str]]:
        """Details that the arms intend to differ in: base's and head's value by name, where both tell it."""
        if self.base.fallback or self.head.fallback:
            return {}
        return {
            name: (value, self.head.details[name])
            for name, value in self.base.details.items()
            if name in self.head.details
            and not _is_fallback(name)
            and value != self.head.details[name]
            and _UNKNOWN not in (value, self.head.details[name])
        }


def describe_fallback(reports: Sequence[PairReport]) -> str | None:
    """Why pairs are no measurement of what their arms intend, by the first that isn't; None if all are."""
    for report in reports:
        arms = {"base": report.base, "head": report.head}
        reasons = [
            f"the {name} runs otherwise than intended: {arm.fallback}" for name, arm in arms.items() if arm.fallback
        ]
        if reasons:
            return "; ".join(reasons)
    return None


def describe_differing_details(report: PairReport) -> str | None:
    """The arms' intended differences in one clause; None if there is none."""
    clauses = [
        f"{name} is {base} in the base and {head} in the head"
        for name, (base, head) in report.differing_details.items()
    ]
    return ", ".join(clauses) or None


def with_arms(verdict: Verdict, reports: Sequence[PairReport]) -> Verdict:
    """A verdict that tells what its arms ran: an intended difference leads its reason, equal code is evidence."""
    if not reports:
        return verdict
    differing = describe_differing_details(reports[-1])
    evidence = (_SAME_CODE,) if all(report.loads_same_code for report in reports) else ()
    return replace(
        verdict,
        reason=f"{differing}; {verdict.reason}" if differing else verdict.reason,
        evidence=(*verdict.evidence, *evidence),
    )


def _is_fallback(name: str) -> bool:
    return name.split()[-1:] == [_FALLBACK]
