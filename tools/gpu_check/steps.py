"""The steps of `make gpu-check`, in their order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

Row = Mapping[str, object]


class CannotRunError(Exception):
    """The step needs something that is not here; the message says what."""


@dataclass(frozen=True)
class Step:
    """One step, which runs in a process of its own.

    Attributes
    ----------
    name:
        Its name for `--only`.
    shows:
        The contents of its rows, in a few words.
    limit_s:
        Seconds after which it is ended; the report keeps its rows up to then.
    module:
        The module whose function `rows` makes the rows.
    """

    name: str
    shows: str
    limit_s: float
    module: str

    def rows(self) -> Iterator[Row]:
        """Run it in this process.

        Raises
        ------
        CannotRunError
            When this machine can't.
        """
        make: Callable[[], Iterator[Row]] = import_module(self.module).rows
        yield from make()


STEPS = (
    Step("machine", "driver, GPUs, CUDA's headers, linker, shared memory", 30, "tools.gpu_check.machine"),
    Step("compile", "each batch size compiled, with the whole log of a failure", 150, "tools.gpu_check.compiling"),
    Step(
        "forward",
        "ms a batch: engines, precisions, two in flight, CUDA graphs, padding, copies",
        170,
        "tools.gpu_check.forward",
    ),
    Step("decode", "photos a second: threads, processes, nvJPEG", 30, "tools.gpu_check.decoding"),
    Step("server", "requests a second, stages, core-ms, GPU", 110, "tools.gpu_check.serving"),
    Step("pairs", "log ratio of two servers in turns, identical and slowed by 10 %", 70, "tools.gpu_check.pairs"),
    Step("faults", "a stopped process's queued work; a device assertion in a worker", 40, "tools.gpu_check.faults"),
)
