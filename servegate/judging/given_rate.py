"""The verdicts of cells whose load sets the rate: their throughput says nothing of the service, and only informs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from servegate.judging.absolute.validity import mean_rate_per_s, why_unjudged
from servegate.judging.comparison import OUT_OF_TIME
from servegate.records import Cell, Sample, Status, Verdict


@dataclass(frozen=True)
class CellAtGivenRate:
    """The outcome of a comparison for one such cell; the lateness of its requests is judged as a figure of its group.

    Attributes
    ----------
    bases, heads:
        The samples of either arm, pair by pair.
    """

    verdict: Verdict
    bases: Sequence[Sample]
    heads: Sequence[Sample]


class GivenRateJudge:
    """Takes the samples of both arms, pair by pair.

    Parameters
    ----------
    cells:
        The cells whose load sets the rate, and whether their lateness is judged; else they aren't measured.
    first_pairs:
        The pairs that their lateness needs.
    client_ceiling_cores:
        As in `Policy`.
    """

    def __init__(self, cells: Mapping[Cell, bool], first_pairs: int, client_ceiling_cores: float) -> None:
        self._samples: dict[Cell, list[tuple[Sample, Sample]]] = {cell: [] for cell in cells}
        self._left_out = {cell for cell, is_judged in cells.items() if not is_judged}
        self._unjudged: dict[Cell, Verdict] = {}
        self._first_pairs = first_pairs
        self._client_ceiling_cores = client_ceiling_cores

    def add(self, samples: Mapping[Cell, tuple[Sample, Sample]], fallback: str | None) -> None:
        """Take one pair; `fallback` says why one of its processes ran otherwise than it intended."""
        for cell in self._samples.keys() & samples.keys():
            self._samples[cell].append(samples[cell])
            base, head = zip(*self._samples[cell], strict=True)
            unjudged = (
                Verdict(Status.INVALID, fallback) if fallback else why_unjudged(base, head, self._client_ceiling_cores)
            )
            if unjudged is not None and cell not in self._unjudged:
                self._unjudged[cell] = unjudged
                self._close_others(cell, unjudged)

    def _close_others(self, closed: Cell, verdict: Verdict) -> None:
        """A figure is of all cells of its group, so none of them is measured any more."""
        because = replace(verdict, reason=f"{closed} {verdict.status}: {verdict.reason}")
        for cell in self._samples:
            if cell.group == closed.group:
                self._unjudged.setdefault(cell, because)

    def drop(self, group: str) -> None:
        """Measure a group no more that can't be measured."""
        for cell in self._samples:
            if cell.group == group:
                self._unjudged[cell] = Verdict(Status.INVALID, "its group could not be measured")

    def is_open(self, cells: Iterable[Cell]) -> bool:
        """Whether another pair would say more of these cells, which are a group."""
        return not any(cell in self._unjudged for cell in cells)

    @property
    def is_first_due(self) -> bool:
        """Whether a cell still lacks one of the pairs that its lateness needs."""
        due = self._samples.keys() - self._left_out - self._unjudged.keys()
        return any(len(self._samples[cell]) < self._first_pairs for cell in due)

    def results(self) -> dict[Cell, CellAtGivenRate]:
        """The outcome for each cell, in their order."""
        return {
            cell: CellAtGivenRate(self._judge(cell), [base for base, _ in samples], [head for _, head in samples])
            for cell, samples in self._samples.items()
        }

    def _judge(self, cell: Cell) -> Verdict:
        samples = self._samples[cell]
        if cell in self._left_out:
            return Verdict(Status.INFORMS, "its lateness is switched off, so a comparison does not measure it")
        if cell in self._unjudged:
            return self._unjudged[cell]
        if not samples:
            return OUT_OF_TIME
        if len(samples) < self._first_pairs:
            too_few = f"the time budget ended after {len(samples)} of the {self._first_pairs} pairs that lateness needs"
            return Verdict(Status.INCONCLUSIVE, too_few)
        reason = "the load sets its rate; a test of its own judges how late its requests are"
        return Verdict(Status.INFORMS, reason, now_per_s=mean_rate_per_s([head for _, head in samples]))
