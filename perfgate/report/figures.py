"""A cell's figures as they stand in pytest-benchmark's JSON."""

from dataclasses import asdict
from statistics import fmean

from perfgate.gate import CellResult


def benchmark_figures(result: CellResult) -> dict[str, object]:
    """The gate's figures beside pytest-benchmark's own; lists have one entry a process."""
    samples = [sample for sample in result.samples if sample.rounds_s]
    gpus = [sample.telemetry.gpu for sample in samples if sample.telemetry.gpu is not None]
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
        "cpu_cores": [sample.telemetry.cpu_cores for sample in samples],
        "memory_bytes": [sample.telemetry.memory_bytes for sample in samples],
        "client_cpu_cores": client,
        "gpu_utilisation_percent": [gpu.utilisation_percent for gpu in gpus],
        "gpu_memory_bytes": [gpu.memory_bytes for gpu in gpus],
        "gpu_power_w": [gpu.power_w for gpu in gpus],
        "verdict": str(result.verdict.status),
        "change": asdict(result.verdict.change) if result.verdict.change else None,
        "pairs": [pair.to_json() for pair in result.pairs],
    }
