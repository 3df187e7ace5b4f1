"""Records of the resources that measured processes use."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GpuUse:
    """The report of NVML while a cell ran, over all GPUs in use.

    Attributes
    ----------
    utilisation_percent:
        Mean share of time in which a kernel ran; None under MIG, which doesn't report it.
    memory_bytes:
        Most memory in use at one time.
    power_w:
        Mean power of all GPUs together; None where the driver doesn't report it.
    energy_j:
        Energy of all GPUs together from start to end.
    temperature_c:
        The highest temperature.
    sm_clock_mhz:
        Mean clock of the multiprocessors.
    slowed_by:
        The names of heat or power brakes that slowed a GPU down in at least a tenth of the readings.
    """

    utilisation_percent: float | None
    memory_bytes: int
    power_w: float | None
    energy_j: float | None
    temperature_c: float | None = None
    sm_clock_mhz: float | None = None
    slowed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Telemetry:
    """The resources that the measured process and its children used.

    Attributes
    ----------
    cpu_cores:
        CPU-seconds per second.
    gauges:
        Levels by name, of all processes together; see `servegate.telemetry.gauges`.
    gpu:
        The use of the GPUs; None without a GPU.
    own_cpu_s, observed_cpu_s:
        CPU-seconds that the observation itself used, and those of the observed processes.
    cpu_cores_by_process:
        `cpu_cores` by the processes' names.
    """

    cpu_cores: float
    gauges: Mapping[str, float]
    gpu: GpuUse | None
    own_cpu_s: float = 0.0
    observed_cpu_s: float = 0.0
    cpu_cores_by_process: Mapping[str, float] = field(default_factory=dict)
