"""NVML without a GPU: the real binding on a library that the tests compile, and what its GPUs answer.

The only stand-in of the unit tests: the machines that run them have no GPU, and none can be made to fail on demand.
"""

import ctypes
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pynvml
import pytest

DRIVER = "550.54.15"
_SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class StandInGpu:
    """What a GPU answers, in NVML's units; each reading adds `energy_per_reading`. An error's number is raised.

    A `capability_major` of 0 is not reported.
    """

    name: str = "NVIDIA L4"
    uuid: str = "GPU-11111111-2222-3333-4444-555555555555"
    is_part: bool = False
    utilisation: int | type[pynvml.NVMLError] = 80
    memory: int | type[pynvml.NVMLError] = 3 * 2**30
    power: int | type[pynvml.NVMLError] = 60_000
    energy: int | type[pynvml.NVMLError] = 5_000_000
    temperature: int | type[pynvml.NVMLError] = 60
    clock: int | type[pynvml.NVMLError] = 1_500
    reasons: int | type[pynvml.NVMLError] = 0
    energy_per_reading: int = 0
    capability_major: int = 8
    capability_minor: int = 9
    power_limit: int | type[pynvml.NVMLError] = 72_000
    highest_clock: int | type[pynvml.NVMLError] = 2_040
    mig: int | type[pynvml.NVMLError] = pynvml.NVMLError_NotSupported
    ecc: int | type[pynvml.NVMLError] = 1
    persistence: int | type[pynvml.NVMLError] = 0
    compute_mode: int | type[pynvml.NVMLError] = 0
    lanes: int | type[pynvml.NVMLError] = 8
    processes: tuple[int, ...] = ()
    process_memory: int | type[pynvml.NVMLError] = 2**30


class _Answer(ctypes.Structure):
    _fields_ = (("value", ctypes.c_uint64), ("error", ctypes.c_uint32))


_READINGS = ("utilisation", "memory", "power", "energy", "temperature", "clock", "reasons")
_FACTS = ("power_limit", "highest_clock", "mig", "ecc", "persistence", "compute_mode", "lanes")
_ANSWERS = (*_READINGS, *_FACTS, "process_memory")


class _Gpu(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 96),
        ("uuid", ctypes.c_char * 96),
        *((name, _Answer) for name in _READINGS),
        ("energy_per_reading", ctypes.c_uint64),
        ("capability_major", ctypes.c_uint32),
        ("capability_minor", ctypes.c_uint32),
        *((name, _Answer) for name in _FACTS),
        ("processes", ctypes.c_uint32 * 2),
        ("process_memory", _Answer),
    )


def compile_stand_in(folder: Path) -> Path:
    """The library, under the name by which the binding looks for it."""
    library = folder / "libnvidia-ml.so.1"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    # Without -soname: with it the library would answer whoever asks for NVML in the test's process later.
    subprocess.run([*command, "-o", library, _SOURCE], check=True)
    return library


class StandInNvml:
    """The library in place of the machine's own, until the test ends."""

    def __init__(self, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._library = ctypes.CDLL(str(library))
        monkeypatch.setattr(pynvml, "nvmlLib", self._library)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        self._gpus = (_Gpu * 4).in_dll(self._library, "stand_in_gpus")
        self.have()
        for name in ("init_error", "count_error", "opened", "closed", "cuda_error"):
            self._set(name, 0)
        self.drive(13_000)

    def have(self, *gpus: StandInGpu) -> None:
        """These GPUs, and no others; parts of GPUs come last."""
        ctypes.memset(self._gpus, 0, ctypes.sizeof(self._gpus))
        for place, gpu in enumerate(gpus):
            self.set(place, **{name: value for name, value in vars(gpu).items() if name != "is_part"})
        self._set("count", sum(not gpu.is_part for gpu in gpus))

    def set(self, place: int, **values: str | int | tuple[int, ...] | type[pynvml.NVMLError]) -> None:
        """Change what the GPU in this place answers from now on."""
        for name, value in values.items():
            gpu = self._gpus[place]
            if isinstance(value, str):
                setattr(gpu, name, value.encode())
            elif isinstance(value, tuple) or name not in _ANSWERS:
                setattr(gpu, name, value)
            elif isinstance(value, int):
                setattr(gpu, name, _Answer(value, 0))
            else:
                setattr(gpu, name, _Answer(0, error_number(value)))

    def energy(self, place: int) -> int:
        """What the GPU's meter shows, in mJ."""
        value: int = self._gpus[place].energy.value
        return value

    def fail_at_start(self, error: type[pynvml.NVMLError]) -> None:
        """Don't start."""
        self._set("init_error", error_number(error))

    def drive(self, cuda: int, error: type[pynvml.NVMLError] | None = None) -> None:
        """Have a driver for this CUDA, 13000 for 13.0; with an error its library for CUDA isn't there."""
        self._set("cuda", cuda)
        self._set("cuda_error", 0 if error is None else error_number(error))

    def lose_all(self) -> None:
        """Don't say which GPUs there are."""
        self._set("count_error", pynvml.NVML_ERROR_GPU_IS_LOST)

    @property
    def opened(self) -> int:
        """How often it was opened."""
        return self._get("opened")

    @property
    def closed(self) -> int:
        """How often it was closed."""
        return self._get("closed")

    def _variable(self, name: str) -> ctypes.c_uint32:
        return ctypes.c_uint32.in_dll(self._library, f"stand_in_{name}")

    def _get(self, name: str) -> int:
        value: int = self._variable(name).value
        return value

    def _set(self, name: str, value: int) -> None:
        self._variable(name).value = value


def error_number(error: type[pynvml.NVMLError]) -> int:
    """NVML's own number of an error."""
    numbers: Iterator[int] = (getattr(pynvml, name) for name in dir(pynvml) if name.startswith("NVML_ERROR_"))
    return next(number for number in numbers if type(pynvml.NVMLError(number)) is error)
