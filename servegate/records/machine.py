"""Records of the machine that measured: its hardware, and what other programs used of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Others that use this share of the cores take about as much from a service that uses them all.
_BUSY_SHARE = 0.05


@dataclass(frozen=True)
class MachineLoad:
    """CPU that others used on the machine that measured: its processes less the run's own.

    Attributes
    ----------
    cores:
        The machine's cores that the run may use.
    before_cores:
        Cores in use by others from the run's start to its first measurement; None where that was too short to tell.
    during_cores, most_cores:
        Cores in use by others while cells were measured: the mean, and the most in one cell.
    """

    cores: int
    before_cores: float | None
    during_cores: float
    most_cores: float

    @property
    def is_busy(self) -> bool:
        """Whether others used enough to blur a measurement."""
        return self.during_cores >= _BUSY_SHARE * self.cores


@dataclass(frozen=True)
class Fingerprint:
    """The machine that measured: hardware makes its class, everything else is recorded.

    Attributes
    ----------
    place:
        Host and port of a service that runs elsewhere, which is a class of its own; None for this machine.
    details:
        Versions and settings by name, shown where they differ from the baseline's.
    """

    cpu_model: str
    usable_cores: int
    gpu_name: str | None
    gpu_count: int
    details: Mapping[str, str] = field(default_factory=dict)
    place: str | None = None

    @property
    def machine_class(self) -> str:
        """A folder name for machines of this hardware."""
        if self.place is not None:
            return _as_name(f"deployed {self.place}")
        gpu = f"{self.gpu_count}x {self.gpu_name}" if self.gpu_name else "no gpu"
        cores = f"{self.usable_cores} core" + ("s" if self.usable_cores != 1 else "")
        return _as_name(f"{self.cpu_model} {cores} {gpu}")


def _as_name(text: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())
