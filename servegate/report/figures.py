"""A cell's figures: each declared once, and shown wherever a run is told."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from servegate.judging.cell_result import CellResult
from servegate.judging.estimators import mean_of_known, most_of_known
from servegate.judging.figures.result import FigureResult
from servegate.judging.slow_answers import find_slow_share, in_turns
from servegate.judging.stages import compare_stages, mean_stage
from servegate.records import REST, Change, Sample, StageTime
from servegate.telemetry.sampler import mean_by_process


@dataclass(frozen=True)
class Figure:
    """One figure of a cell.

    Attributes
    ----------
    name:
        Its name in `results.json` and in pytest-benchmark's JSON, with its unit.
    heading:
        The heading of its column on the page.
    show:
        Formats its value for a reader.
    read:
        Reads its value for one process; None if the process doesn't have it.
    over_processes:
        Combines the values of all processes.
    usual:
        The value that tells a reader nothing. The page leaves out a column that has only this value or none.
    is_latency:
        Whether processes that took no turns have no part in it, where others did.
    """

    name: str
    heading: str
    show: Callable[[float], str]
    read: Callable[[Sample], float | None]
    over_processes: Callable[[Iterable[float | None]], float | None]
    usual: float | None = None
    is_latency: bool = False

    def summarise(self, samples: Sequence[Sample]) -> float | None:
        """The figure over all processes; None where no process has it."""
        return self.over_processes(map(self.read, in_turns(samples) if self.is_latency else samples))


def short(value: float) -> str:
    """Format with as many digits as a reader needs."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def show_mib(value: float) -> str:
    """Format bytes in MiB."""
    return f"{value / 2**20:.0f}"


def name_stage(name: str) -> str:
    """Return the name that the report shows for a stage, since `rest` alone would explain nothing."""
    return "rest (HTTP, queues, client)" if name == REST else name


show_percent, show_cores = "{:.1%}".format, "{:.2f}".format


def _median(values: Iterable[float | None]) -> float | None:
    """The median of the processes that have the figure; None where one has too few answers to tell."""
    known = [value for value in values if value is not None]
    return median(known) if known and not any(map(math.isnan, known)) else None


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _latency(name: str) -> Callable[[Sample], float | None]:
    def read(sample: Sample) -> float | None:
        value: float = getattr(sample.felt_latency, name)
        was_loaded = sample.rounds_s or math.isfinite(sample.felt_latency.mean_ms)
        return value if was_loaded else None

    return read


def _gauge(name: str) -> Callable[[Sample], float | None]:
    return lambda sample: sample.telemetry.gauges[name] if sample.telemetry is not None else None


def _gpu(name: str) -> Callable[[Sample], float | None]:
    def read(sample: Sample) -> float | None:
        gpu = sample.telemetry.gpu if sample.telemetry is not None else None
        value: float | None = getattr(gpu, name) if gpu is not None else None
        return value

    return read


def _gpu_energy_j_per_unit(sample: Sample) -> float | None:
    power_w = _gpu("power_w")(sample)
    return power_w / sample.mean_throughput_per_s if power_w is not None and sample.rounds_s else None


def _cpu_cores(sample: Sample) -> float | None:
    return sample.telemetry.cpu_cores if sample.telemetry is not None else None


def _core_ms_per_unit(sample: Sample) -> float | None:
    return sample.core_ms_per_unit if sample.rounds_s else None


def _telemetry_share(sample: Sample) -> float | None:
    used = sample.telemetry
    return used.own_cpu_s / used.observed_cpu_s if used is not None and used.observed_cpu_s else None


FIGURES = (
    Figure("latency_p50_ms", "p50, ms", short, _latency("p50_ms"), _median, is_latency=True),
    Figure("latency_p95_ms", "p95, ms", short, _latency("p95_ms"), _median, is_latency=True),
    Figure("latency_p99_ms", "p99, ms", short, _latency("p99_ms"), _median, is_latency=True),
    Figure("success_rate", "right answers", show_percent, lambda sample: sample.success_rate, _least, usual=1.0),
    Figure("cpu_cores", "CPU, cores", show_cores, _cpu_cores, mean_of_known),
    Figure("client_cpu_cores", "client, cores", show_cores, lambda sample: sample.client_cpu_cores, mean_of_known),
    # CPU time of service and client together.
    Figure("core_ms_per_unit", "core-ms each", short, _core_ms_per_unit, _median),
    Figure("memory_bytes", "memory, MiB", show_mib, _gauge("memory_bytes"), most_of_known),
    Figure("gpu_utilisation_percent", "GPU, %", short, _gpu("utilisation_percent"), mean_of_known),
    Figure("gpu_memory_bytes", "GPU memory, MiB", show_mib, _gpu("memory_bytes"), most_of_known),
    Figure("gpu_power_w", "GPU, W", short, _gpu("power_w"), mean_of_known),
    Figure("gpu_energy_j_per_unit", "GPU, J each", short, _gpu_energy_j_per_unit, mean_of_known),
    Figure("gpu_temperature_c", "GPU, °C", short, _gpu("temperature_c"), most_of_known),
    Figure("gpu_sm_clock_mhz", "GPU, MHz", short, _gpu("sm_clock_mhz"), mean_of_known),
    # CPU time that observing took, as a share of what it observed.
    Figure("telemetry_share", "telemetry's CPU", show_percent, _telemetry_share, mean_of_known),
)


def summarise(samples: Sequence[Sample]) -> Mapping[str, float | None]:
    """Each figure over all processes, by name; None where no process has it."""
    return {figure.name: figure.summarise(samples) for figure in FIGURES}


def mean_cpu_cores_by_process(samples: Sequence[Sample]) -> dict[str, float]:
    """Cores in use by the measured processes' names, means over the samples."""
    telemetry = [sample.telemetry for sample in samples if sample.telemetry is not None]
    return mean_by_process([used.cpu_cores_by_process for used in telemetry])


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


def benchmark_figures(result: CellResult) -> dict[str, object]:
    """The gate's figures beside pytest-benchmark's own; lists have one entry a process."""
    samples = [sample for sample in result.samples if sample.rounds_s]
    return {
        "cell": str(result.cell),
        "unit": result.unit,
        "units_per_round": [sample.units_per_round for sample in samples],
        "throughput_per_s": [sample.throughput_per_s for sample in samples],
        "latency_mean_ms": without_nan([sample.felt_latency.mean_ms for sample in samples]),
        **{figure.name: _list_values(figure, samples) for figure in FIGURES},
        "success_rate": fmean(sample.success_rate for sample in result.samples) if result.samples else None,
        "verdict": str(result.verdict.status),
        "change": asdict(result.verdict.change) if result.verdict.change else None,
        "pairs": [pair.to_json() for pair in result.pairs],
        **_slow_answers(result),
    }


def _slow_answers(result: CellResult) -> dict[str, float | None]:
    return {"slow_ms": result.slow_ms, "slow_share": find_slow_share(result.samples, result.slow_ms)}


def _list_values(figure: Figure, samples: Iterable[Sample]) -> list[float | None]:
    """The figure of each process, None for one that doesn't have it; empty if none has it."""
    values: list[float | None] = without_nan([figure.read(sample) for sample in samples])
    return values if any(value is not None for value in values) else []


def without_nan(value: Any) -> Any:
    """Put None in place of NaN, which a process without a figure has and JSON has not, however deep it lies."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def list_properties(result: CellResult) -> list[tuple[str, object]]:
    """A cell's figures as properties of its test in pytest's JUnit file, by the names of `results.json`.

    Figures that the cell doesn't have are left out.
    """
    verdict = result.verdict
    figures = {
        "now_per_s": verdict.now_per_s,
        "baseline_per_s": verdict.baseline_per_s,
        **_write_change(verdict.change),
        **summarise(result.samples),
        **_slow_answers(result),
    }
    return [("cell", str(result.cell)), ("verdict", str(verdict.status)), ("unit", result.unit), *_known(figures)]


def list_figure_properties(result: FigureResult) -> list[tuple[str, object]]:
    """List the properties of a figure of a group, as `list_properties` does for a cell."""
    figures = {**_write_change(result.change), "excluded": result.excluded}
    return [("figure", str(result.figure)), ("verdict", str(result.verdict.status)), *_known(figures)]


def _write_change(change: Change | None) -> dict[str, float | None]:
    if change is None:
        return {}
    return {"change": change.estimate, "change_low": change.low, "change_high": change.high}


def _known(figures: Mapping[str, float | None]) -> list[tuple[str, object]]:
    return [(name, f"{value:.6g}") for name, value in figures.items() if value is not None and math.isfinite(value)]
