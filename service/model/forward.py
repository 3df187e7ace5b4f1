"""The forward pass of the settings' network: compiled if that is possible, else as torch runs it.

Compiling takes a while and is done once on a machine: the result is kept in the user's cache.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import shorten
from typing import Protocol

import torch
from torch import Tensor

from service.model.cache import CompileError, cache_folder, find_or_build
from service.model.compiled import LONGEST_REASON, CompiledNetwork, CompilingEngine
from service.model.compiler import CompileJob, command_line
from service.model.cuda_toolkit import toolkit_environment
from service.model.errors import EngineError
from service.model.network import ImageNetwork
from service.model.weights import load_model, weights_digest
from service.processes import kill_tree
from service.settings import ENV_PREFIX, OPENVINO_PRECISIONS, Engine, Precision, Settings, usable_cores

_LOG = logging.getLogger(__name__)
# Larger micro-batches are no faster on a CPU, and slower with AMX. For one thread the best size differs by engine and
# precision, see docs/decisions.
_CPU_MICRO_BATCH = 8
_ONE_THREAD_MICRO_BATCH: Mapping[tuple[CompilingEngine, Precision], int] = {
    ("openvino", "float32"): 1,
    ("openvino", "bfloat16"): 4,
    ("inductor", "float32"): 1,
}
_GPU_MICRO_BATCH = 64
# Each size takes a compiler, and memory for what lies between layers; larger batches are split.
_MOST_ON_GPU = 256
_COMPILE_TIMEOUT_S = 300.0
_LOG_LINES_SHOWN = 5
_ROOT = str(Path(__file__).parents[2])
_SOURCES = ("compiled.py", "compiler.py", "network.py", "openvino_network.py", "state_dict.py", "weights.py")
_PACKAGES = ("timm", "torch", "torchvision")


class Forward(Protocol):
    """uint8 RGB images (n, size, size, 3) on the device to float32 logits (n, outputs), for any n.

    Under `use_all_cores` it may also take the cores of the other workers.

    Attributes
    ----------
    engine:
        The engine that runs the network.
    fallback:
        Why another engine runs it than the one that was chosen; None where that one does.
    cuda_graphs:
        Whether it replays CUDA graphs.
    sizes:
        The batch sizes to warm up with: after that, no n needs a size that the device hasn't seen.
    """

    @property
    def engine(self) -> Engine: ...  # noqa: D102

    @property
    def fallback(self) -> str | None: ...  # noqa: D102

    @property
    def cuda_graphs(self) -> bool: ...  # noqa: D102

    @property
    def sizes(self) -> Sequence[int]: ...  # noqa: D102

    def __call__(self, images: Tensor, *, use_all_cores: bool = False) -> Tensor: ...  # noqa: D102


class EagerNetwork:
    """The network as torch runs it, at most `micro_batch_size` images at a time."""

    engine: Engine = "eager"
    cuda_graphs = False

    def __init__(self, network: ImageNetwork, micro_batch_size: int, fallback: str | None = None) -> None:
        self.sizes = range(1, micro_batch_size + 1)
        self.fallback = fallback
        self._network = network

    def __call__(self, images: Tensor, *, use_all_cores: bool = False) -> Tensor:  # noqa: ARG002
        """Compute float32 logits of shape (n, outputs). Torch keeps its number of threads."""
        return torch.cat([self._network(part) for part in torch.split(images, self.sizes[-1])])


def load_forward(settings: Settings, device: torch.device, precision: Precision) -> Forward:
    """Load the network onto the device, for any number of images.

    Raises
    ------
    WeightsError
        See `service.model.weights.load_model`.
    EngineError
        When the settings name an engine that can't run the model. Where they leave the choice, torch runs it then.
    """
    engine, fallback = chosen_engine(settings, device, precision), None
    if engine != "eager":
        try:
            return _load_compiled(settings, engine, device, precision)
        except CompileError as error:
            reason = shorten(str(error), LONGEST_REASON)
            if settings.engine != "auto":
                raise EngineError(
                    f"{ENV_PREFIX}ENGINE (--engine)={engine} can't run the model: {reason}. Take another engine, or "
                    "auto, which runs the model without compiling where that fails"
                ) from error
            _LOG.warning("the model runs without being compiled, which is slower: %s", error)
            fallback = f"{engine} can't run the model, so torch runs it without compiling: {reason}"
    default = _GPU_MICRO_BATCH if device.type == "cuda" else _CPU_MICRO_BATCH
    network = ImageNetwork(load_model(settings), precision, device)
    return EagerNetwork(network, settings.micro_batch_size or default, fallback)


def chosen_engine(settings: Settings, device: torch.device, precision: Precision) -> Engine:
    """Choose the engine: the one in the settings, or the one that was fastest, see docs/decisions."""
    if settings.engine != "auto":
        return settings.engine
    return "openvino" if device.type == "cpu" and precision in OPENVINO_PRECISIONS else "inductor"


def compiled_sizes(
    settings: Settings, engine: CompilingEngine, device: torch.device, precision: Precision
) -> tuple[int, ...]:
    """Choose the batch sizes to compile, largest first; 1 is the last, so that any number of images can be split.

    On one thread of a CPU, small batches are as fast as large ones or faster: what passes between layers stays in the
    core's caches. Two threads share the work of a single image badly. A GPU computes a few images more in the time of
    one kernel call, so it has powers of two, and a batch is filled up to the next of them.
    """
    if settings.micro_batch_size is not None:
        sizes = {settings.micro_batch_size}
    elif device.type == "cuda":
        sizes = {min(2**power, _MOST_ON_GPU) for power in range((settings.max_batch_size - 1).bit_length() + 1)}
    else:
        one_thread = _ONE_THREAD_MICRO_BATCH.get((engine, precision), _CPU_MICRO_BATCH)
        sizes = {one_thread if settings.threads_per_worker == 1 else _CPU_MICRO_BATCH}
    return tuple(sorted(sizes | {1}, reverse=True))


def _load_compiled(
    settings: Settings, engine: CompilingEngine, device: torch.device, precision: Precision
) -> CompiledNetwork:
    sizes = compiled_sizes(settings, engine, device, precision)
    key = {
        "weights": weights_digest(settings),
        "model": settings.model,
        "labels": len(settings.labels),
        "image_size": settings.image_size,
        # Where it is left, a model of larger images is refused.
        "image_size_is_chosen": "image_size" in settings.model_fields_set,
        "engine": engine,
        "precision": precision,
        "sizes": sizes,
        "threads": settings.threads_per_worker,
        "hardware": _hardware(device),
        "packages": _versions([*_PACKAGES, *(["openvino"] if engine == "openvino" else [])]),
        # These files hold the normalisation and the compilers' options.
        "sources": {name: hashlib.sha256(Path(__file__).with_name(name).read_bytes()).hexdigest() for name in _SOURCES},
    }
    jobs = [
        CompileJob(engine, size, str(device), precision, settings.model_dump_json(exclude_unset=True)) for size in sizes
    ]
    entry = find_or_build(cache_folder(), key, partial(_compile, jobs), wait_s=_COMPILE_TIMEOUT_S)
    try:
        packages = {size: entry / str(size) for size in sizes}
        graphs = settings.image_size if settings.cuda_graphs else None
        threads = settings.threads_per_worker
        return CompiledNetwork(packages, engine, precision, device, threads, usable_cores(), graphs)
    except RuntimeError as error:
        raise CompileError(f"{entry} can't be loaded: {error}") from error


def _versions(packages: Sequence[str]) -> dict[str, str]:
    try:
        return {name: version(name) for name in packages}
    except PackageNotFoundError as error:
        raise CompileError(f"the package {error.name} is not installed") from error


def _hardware(device: torch.device) -> dict[str, object]:
    """Describe the hardware that the machine code and the layout of packed weights depend on."""
    if device.type == "cuda":
        return {"gpu": torch.cuda.get_device_name(device), "capability": torch.cuda.get_device_capability(device)}
    return {
        "cpu": dict(torch.cpu.get_capabilities()),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "onednn": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    }


def _compile(jobs: list[CompileJob], folder: Path) -> None:
    """Run the jobs side by side in `folder`, each in a process of its own."""
    cxx = os.environ.get("CXX", "g++")
    if any(job.engine == "inductor" for job in jobs) and shutil.which(cxx) is None:
        raise CompileError(f"there is no C++ compiler {cxx!r}; install g++ or set CXX")
    _LOG.warning("compiling the model, once for this machine, into %s", folder.parent)
    start_s = time.monotonic()
    # It lies in the cache, so that the next build clears it away if this process is killed.
    scratch = folder / "scratch"
    scratch.mkdir()
    environment = compiler_environment(jobs, scratch)
    compilers = [start_compiler(job, folder, scratch, environment) for job in jobs]
    try:
        for job, compiler in zip(jobs, compilers, strict=True):
            _wait(compiler, start_s + _COMPILE_TIMEOUT_S, _log_path(job, scratch))
    finally:
        for compiler in compilers:
            if compiler.poll() is None:
                kill_tree(compiler.pid)
                compiler.wait()
    shutil.rmtree(scratch)
    _LOG.warning("compiled the model in %.0f s", time.monotonic() - start_s)


def _log_path(job: CompileJob, scratch: Path) -> Path:
    return scratch / f"{job.size}.log"


def compiler_environment(jobs: Sequence[CompileJob], scratch: Path) -> dict[str, str]:
    """Make the variables that all compilers need.

    Raises
    ------
    CompileError
        See `toolkit_environment`.
    """
    is_for_gpu = any(torch.device(job.device).type == "cuda" for job in jobs)
    return {
        # A compiler must find `service` whatever the current folder is.
        "PYTHONPATH": os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")])),
        # Each would start as many processes as there are cores, 32 at most.
        "TORCHINDUCTOR_COMPILE_THREADS": str(max(1, usable_cores() // len(jobs))),
        **(toolkit_environment(scratch, str(torch.version.cuda)) if is_for_gpu else {}),
    }


def start_compiler(
    job: CompileJob, folder: Path, scratch: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start the process that compiles what the job says into `folder`; its log and other files go into `scratch`."""
    with _log_path(job, scratch).open("wb") as log:
        return subprocess.Popen(
            command_line(job, folder),
            # Torch would unpickle what it finds in its usual folder.
            env={**os.environ, **environment, "TORCHINDUCTOR_CACHE_DIR": str(scratch / str(job.size))},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait(compiler: "subprocess.Popen[bytes]", end_s: float, log: Path) -> None:
    try:
        status = compiler.wait(max(0.0, end_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise CompileError(f"the compiler was not ready after {_COMPILE_TIMEOUT_S:.0f} s") from None
    if status != 0:
        lines = log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES_SHOWN:]
        raise CompileError("\n".join([f"the compiler ended with status {status}:", *lines]))
