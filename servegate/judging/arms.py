"""Records of what the arms of a pair ran: their code, and the engine, precision and device that processes report.

The gate knows none of these details: the project's processes name them. Two words have a meaning for the gate. A detail
whose name ends with `fallback` says why the process runs otherwise than intended. The value `unknown` counts as none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_FALLBACK = "fallback"
_UNKNOWN = "unknown"
_NOTHING = frozenset({"", _UNKNOWN})


@dataclass(frozen=True)
class ArmReport:
    """One arm of a pair: its details and its code.

    Attributes
    ----------
    details:
        The details that its process reported, as in {"server engine": "openvino"}.
    loaded:
        SHA-256 of each Python file of the project that its processes loaded, by the path within the checkout.
    """

    details: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)

    @property
    def fallback(self) -> str | None:
        """The reason that `find_fallback` finds in its details."""
        return find_fallback(self.details)


@dataclass(frozen=True)
class PairReport:
    """The reports of both arms of a pair."""

    base: ArmReport
    head: ArmReport

    @property
    def loads_same_code(self) -> bool:
        """Whether no Python file that the service loads differs; False where neither arm told of any."""
        return bool(self.base.loaded) and self.base.loaded == self.head.loaded

    @property
    def fallback(self) -> str | None:
        """The reason why an arm of the pair does not run as intended; None if both do."""
        arms = {"base": self.base, "head": self.head}
        reasons = [
            f"the {name} runs otherwise than intended: {arm.fallback}" for name, arm in arms.items() if arm.fallback
        ]
        return "; ".join(reasons) or None


def collect_details(reports: Sequence[PairReport]) -> dict[str, dict[str, str]]:
    """The details of all pairs by arm, the last where they differ; empty where no process tells any."""
    arms: dict[str, dict[str, str]] = {"base": {}, "head": {}}
    for report in reports:
        for name, arm in (("base", report.base), ("head", report.head)):
            arms[name].update({key: text for key, text in arm.details.items() if text and text != _UNKNOWN})
    return {name: details for name, details in arms.items() if details}


def find_fallback(details: Mapping[str, str]) -> str | None:
    """Return the reason why a process does not run as intended; None if it reports no such reason."""
    reasons = [text for name, text in details.items() if name.split()[-1:] == [_FALLBACK] and text not in _NOTHING]
    return "; ".join(reasons) or None
