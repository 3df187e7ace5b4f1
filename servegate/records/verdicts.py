"""Records of what was judged: a change, and the verdict on it."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The verdicts."""

    PASS = "PASS"
    IMPROVED = "IMPROVED"
    REGRESSED = "REGRESSED"
    SLOW = "SLOW"
    ALLOWED = "ALLOWED"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"
    NO_BASELINE = "NO_BASELINE"
    BASE_FAILED = "BASE_FAILED"
    NOT_JUDGED = "not judged"
    INFORMS = "informs"


@dataclass(frozen=True)
class Change:
    """A relative change, -0.1 is 10 % lower, with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:+.1%} [{self.low:+.1%}, {self.high:+.1%}]"


@dataclass(frozen=True)
class Verdict:
    """The judgement of a cell, with its reason.

    Attributes
    ----------
    baseline_per_s, now_per_s:
        The throughput over processes that was compared; None if there is none.
    reason:
        One sentence that a reader understands without anything else.
    evidence:
        Lines with which a reader can check the judgement.
    """

    status: Status
    reason: str
    now_per_s: float | None = None
    baseline_per_s: float | None = None
    change: Change | None = None
    evidence: tuple[str, ...] = ()
