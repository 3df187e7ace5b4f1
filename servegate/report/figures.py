"""A cell's figures: one each over its processes, and all of them as they stand in pytest-benchmark's JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median

from servegate.judging.cell_result import CellResult
from servegate.judging.estimators import mean_of_known, most_of_known
from servegate.judging.stages import compare_stages, mean_stage
from servegate.records import Change, Sample, StageTime
from servegate.telemetry.sampler import mean_by_process


@dataclass(frozen=True)
class Summary:
    """A cell's fresh processes in one figure each; None where no process has the figure.

    Attributes
    ----------
    latency_p50_ms, latency_p95_ms, latency_p99_ms:
        Medians over the processes.
    success_rate:
        The least, 0..1.
    cpu_cores, client_cpu_cores:
        Means, in cores.
    core_ms_per_unit:
        CPU time of service and client for one unit of throughput, the median.
    memory_bytes, gpu_memory_bytes:
        The most.
    gpu_utilisation_percent, gpu_power_w, gpu_energy_j_per_unit, gpu_sm_clock_mhz:
        Means, over all GPUs.
    gpu_temperature_c:
        The highest.
    telemetry_share:
        CPU time that observing took, as a share of what it observed.
    cpu_cores_by_process:
        Means, in cores, by the processes' names.
    """

    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    success_rate: float
    cpu_cores: float | None
    client_cpu_cores: float | None
    core_ms_per_unit: float | None
    memory_bytes: int | None
    gpu_utilisation_percent: float | None
    gpu_memory_bytes: int | None
    gpu_power_w: float | None
    gpu_energy_j_per_unit: float | None
    gpu_temperature_c: float | None
    gpu_sm_clock_mhz: float | None
    telemetry_share: float | None
    cpu_cores_by_process: dict[str, float]


def summarise(samples: Sequence[Sample]) -> Summary | None:
    """None without a sample."""
    if not samples:
        return None
    measured = [sample for sample in samples if sample.rounds_s]
    telemetry = [sample.telemetry for sample in samples if sample.telemetry is not None]
    gpus = [used.gpu for used in telemetry if used.gpu is not None]
    observed_cpu_s = sum(used.observed_cpu_s for used in telemetry)
    core_ms = [core_ms for sample in measured if (core_ms := sample.core_ms_per_unit) is not None]
    return Summary(
        latency_p50_ms=median(sample.latency.p50_ms for sample in samples),
        latency_p95_ms=median(sample.latency.p95_ms for sample in samples),
        latency_p99_ms=median(sample.latency.p99_ms for sample in samples),
        success_rate=min(sample.success_rate for sample in samples),
        cpu_cores=mean_of_known([used.cpu_cores for used in telemetry]),
        client_cpu_cores=mean_of_known([sample.client_cpu_cores for sample in samples]),
        core_ms_per_unit=median(core_ms) if core_ms else None,
        memory_bytes=max((used.memory_bytes for used in telemetry), default=None),
        gpu_utilisation_percent=mean_of_known([gpu.utilisation_percent for gpu in gpus]),
        gpu_memory_bytes=max((gpu.memory_bytes for gpu in gpus), default=None),
        gpu_power_w=mean_of_known([gpu.power_w for gpu in gpus]),
        gpu_energy_j_per_unit=mean_of_known([_energy_j_per_unit(sample) for sample in measured]),
        gpu_temperature_c=most_of_known([gpu.temperature_c for gpu in gpus]),
        gpu_sm_clock_mhz=mean_of_known([gpu.sm_clock_mhz for gpu in gpus]),
        telemetry_share=sum(used.own_cpu_s for used in telemetry) / observed_cpu_s if observed_cpu_s else None,
        cpu_cores_by_process=mean_by_process([used.cpu_cores_by_process for used in telemetry]),
    )


def tabulate_stages(result: CellResult) -> list[dict[str, object]]:
    """A request's parts, in its order: now and, side by side, in the base; means over the processes."""
    changes = compare_stages([pair.parts for pair in result.pairs])
    if changes:
        return [
            _stage(change.name, change.head, base=change.base, cpu=change.cpu, took=change.took) for change in changes
        ]
    processes = [sample.parts for sample in result.samples if sample.parts]
    return [
        _stage(name, mean_stage([parts[name] for parts in processes]))
        for name in (processes[0] if processes else ())
        if all(name in parts for parts in processes)
    ]


def _stage(
    name: str,
    now: StageTime,
    *,
    base: StageTime | None = None,
    cpu: Change | None = None,
    took: Change | None = None,
) -> dict[str, object]:
    return {
        "name": name,
        "now": asdict(now),
        "base": asdict(base) if base else None,
        "change_of_cpu_time": asdict(cpu) if cpu else None,
        "change_of_time": asdict(took) if took else None,
    }


def short(value: float) -> str:
    """With as many digits as a reader needs."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def _energy_j_per_unit(sample: Sample) -> float | None:
    gpu = sample.telemetry.gpu if sample.telemetry is not None else None
    return gpu.power_w / sample.mean_throughput_per_s if gpu is not None and gpu.power_w is not None else None


def benchmark_figures(result: CellResult) -> dict[str, object]:
    """The gate's figures beside pytest-benchmark's own; lists have one entry a process."""
    samples = [sample for sample in result.samples if sample.rounds_s]
    telemetry = [sample.telemetry for sample in samples if sample.telemetry is not None]
    gpus = [used.gpu for used in telemetry if used.gpu is not None]
    client = [sample.client_cpu_cores for sample in samples if sample.client_cpu_cores is not None]
    return {
        "cell": str(result.cell),
        "unit": result.unit,
        "units_per_round": [sample.units_per_round for sample in samples],
        "throughput_per_s": [sample.throughput_per_s for sample in samples],
        "latency_mean_ms": [sample.latency.mean_ms for sample in samples],
        "latency_p50_ms": [sample.latency.p50_ms for sample in samples],
        "latency_p95_ms": [sample.latency.p95_ms for sample in samples],
        "latency_p99_ms": [sample.latency.p99_ms for sample in samples],
        "success_rate": fmean(sample.success_rate for sample in result.samples) if result.samples else None,
        "cpu_cores": [used.cpu_cores for used in telemetry],
        "memory_bytes": [used.memory_bytes for used in telemetry],
        "client_cpu_cores": client,
        "gpu_utilisation_percent": [gpu.utilisation_percent for gpu in gpus],
        "gpu_memory_bytes": [gpu.memory_bytes for gpu in gpus],
        "gpu_power_w": [gpu.power_w for gpu in gpus],
        "verdict": str(result.verdict.status),
        "change": asdict(result.verdict.change) if result.verdict.change else None,
        "pairs": [pair.to_json() for pair in result.pairs],
    }
