"""CUDA graphs of the compiled forward passes, on a stand-in for torch's graphs: no GPU has recorded one yet."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import service.model.compiled
import service.model.forward
from service.model.classifier import Classifier
from service.model.compiled import CompiledNetwork
from service.model.forward import load_forward
from service.settings import load_settings

_GPU = torch.device("cuda")
_SIZES = (8, 4, 2, 1)
_IMAGE_SIZE = 16


class Stream:
    """A stream of the stand-in, which computes on the CPU."""

    device = torch.device("cpu")

    def __init__(self, _: object = None) -> None:
        self.waited_for: list[Stream | None] = []

    def wait_stream(self, stream: "Stream") -> None:
        self.waited_for.append(stream)

    def wait_event(self, event: "Event") -> None:
        self.waited_for.append(event.after)


class Event:
    """The end of what a stream has done."""

    after: Stream | None = None

    def record(self, stream: Stream) -> None:
        self.after = stream


class Graph:
    """A recorded forward pass: `work` reads and writes the tensors of the recording."""

    work: Callable[[], object]


class StandInCuda:
    """The functions of torch.cuda that record graphs.

    Attributes
    ----------
    events:
        The calls in order: ("launch", size, stream), ("record", size, pool) or ("replay", size, stream).
    refuses:
        The batch sizes that can't be recorded.
    forgets:
        The batch sizes whose graphs don't read the buffer of their images.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.usual = Stream()
        self.current = self.usual
        self.events: list[tuple[object, ...]] = []
        self.refuses: set[int] = set()
        self.forgets: set[int] = set()
        self._recording: tuple[Graph, object] | None = None
        cuda = self

        class CudaGraph(Graph):
            def replay(self) -> None:
                self.work()

        class Recording:
            """As torch's: where a recording fails, its stream stays the current one."""

            def __init__(self, graph: Graph, *, pool: object, stream: Stream) -> None:
                self._graph, self._pool, self._stream = graph, pool, stream

            def __enter__(self) -> None:
                self._before, cuda.current = cuda.current, self._stream
                cuda._recording = self._graph, self._pool

            def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
                cuda._recording = None
                if kind is None:
                    cuda.current = self._before

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", self.use)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: self.current)
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", CudaGraph)
        monkeypatch.setattr(torch.cuda, "graph", Recording)
        monkeypatch.setattr(service.model.compiled, "load_package", self._load)

    @contextmanager
    def use(self, stream: Stream) -> Iterator[None]:
        """Make it the current stream."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def _load(self, package: Path, *_: object, recordable: bool) -> Callable[[Tensor], Tensor]:
        """A forward pass whose logits are the first two bytes of an image."""
        size = int(package.name)

        def compute(images: Tensor) -> Tensor:
            return images[:, 0, 0, :2].float()

        def forward(images: Tensor) -> Tensor:
            assert images.shape == (size, _IMAGE_SIZE, _IMAGE_SIZE, 3)
            logits = compute(images)
            if self._recording is None:
                self.events.append(("launch", size, self.current))
                return logits
            graph, pool = self._recording
            if size in self.refuses or not recordable:
                raise RuntimeError("operation not permitted when stream is capturing")
            self.events.append(("record", size, pool))

            def replay() -> None:
                self.events.append(("replay", size, self.current))
                if size not in self.forgets:
                    logits.copy_(compute(images))

            graph.work = replay
            return logits

        return forward

    def network(self) -> CompiledNetwork:
        """A network whose graphs are recorded, or not where one is refused; `events` begin anew."""
        self.events.clear()
        packages = {size: Path(str(size)) for size in _SIZES}
        return CompiledNetwork(packages, "inductor", "bfloat16", _GPU, graph_image_size=_IMAGE_SIZE)

    def kinds(self, kind: str) -> list[Any]:
        """The second entries of all events of one kind."""
        return [event[1] for event in self.events if event[0] == kind]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandInCuda:
    return StandInCuda(monkeypatch)


def _images(count: int) -> Tensor:
    shape = (count, _IMAGE_SIZE, _IMAGE_SIZE, 3)
    return torch.from_numpy(np.random.default_rng(count).integers(0, 256, shape, np.uint8))


@pytest.mark.parametrize(("count", "replayed"), [(1, [1]), (3, [4]), (8, [8]), (9, [8, 1]), (23, [8, 8, 8])])
def test_a_batch_replays_the_graphs_of_its_sizes(cuda: StandInCuda, count: int, replayed: list[int]) -> None:
    """And launches nothing else. Each image gets its own logits, though a graph writes all its results to one place."""
    network = cuda.network()
    assert network.cuda_graphs
    assert network.fallback is None
    cuda.events.clear()
    images = _images(count)
    for use_all_cores in (False, True):
        logits = network(images, use_all_cores=use_all_cores)
        torch.testing.assert_close(logits, images[:, 0, 0, :2].float(), rtol=0, atol=0)
    assert cuda.events == [("replay", size, cuda.usual) for size in replayed] * 2


def test_no_two_graphs_run_at_a_time_on_whatever_streams_they_are_called(cuda: StandInCuda) -> None:
    """They share memory. Each waits for the end of the one before, which has copied its logits out by then."""
    network, streams = cuda.network(), [Stream(), Stream()]
    before = cuda.usual
    for stream, count in zip(streams * 2, (4, 1, 8, 4), strict=True):
        stream.waited_for.clear()
        with cuda.use(stream):
            images = _images(count)
            torch.testing.assert_close(network(images), images[:, 0, 0, :2].float(), rtol=0, atol=0)
        assert stream.waited_for == [before]
        assert cuda.events[-1] == ("replay", count, stream)
        before = stream


def test_a_pass_is_recorded_once_it_has_run_on_the_stream_that_records(cuda: StandInCuda) -> None:
    """Its first runs load kernels, which can't be recorded. The largest comes first: the others fit in its memory."""
    cuda.network()
    assert cuda.kinds("record") == list(_SIZES)
    streams = set()
    for size in _SIZES:
        before = cuda.events[: cuda.events.index(next(e for e in cuda.events if e[:2] == ("record", size)))]
        launched_on = [event[2] for event in before if event[:2] == ("launch", size)]
        assert len(launched_on) >= 2
        streams |= set(launched_on)
    [stream] = streams
    assert isinstance(stream, Stream)
    assert stream is not cuda.usual
    assert stream.waited_for == [cuda.usual] * len(_SIZES), "the images were on the usual stream"
    assert cuda.usual.waited_for.count(stream) == len(_SIZES)
    assert cuda.current is cuda.usual


def test_the_graphs_of_a_worker_share_a_pool_and_no_other_worker_has_it(cuda: StandInCuda) -> None:
    """Two graphs that share memory must never run at the same time."""
    pools = []
    for _ in range(2):
        network = cuda.network()
        [pool] = {event[2] for event in cuda.events if event[0] == "record"}
        pools.append((network, pool))
    assert pools[0][1] is not pools[1][1]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refuses", "a batch of 2 images: operation not permitted when stream is capturing"),
        ("forgets", r"a batch of 2 images: its graph's logits differ by \S+ of their size"),
    ],
)
def test_without_graphs_the_passes_run_as_before_and_that_is_told(
    cuda: StandInCuda, fault: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log and under `fallback`, which makes a measurement INVALID. One size without a graph leaves all out."""
    getattr(cuda, fault).add(2)
    network = cuda.network()
    assert not network.cuda_graphs
    assert network.fallback is not None
    assert network.fallback.startswith("CUDA can't record the graphs, so each kernel is launched by itself: ")
    assert re.search(reason, network.fallback)
    assert re.search(reason, caplog.text)
    assert cuda.current is cuda.usual, "the stream of the failed recording"
    cuda.events.clear()
    images = _images(11)
    torch.testing.assert_close(network(images), images[:, 0, 0, :2].float(), rtol=0, atol=0)
    assert cuda.events == [("launch", size, cuda.usual) for size in (8, 4)]


@pytest.mark.parametrize(
    ("flags", "refused", "engine", "is_fallback"),
    [
        (["--cuda-graphs", "on"], False, "inductor with CUDA graphs", False),
        (["--cuda-graphs", "on"], True, "inductor", True),
        (["--cuda-graphs", "off"], False, "inductor", False),
        ([], False, "inductor", False),
    ],
)
def test_graphs_are_recorded_where_the_setting_asks_for_them(
    cuda: StandInCuda, flags: list[str], refused: bool, engine: str, is_fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are off by default. What the process says of its engine tells whether it replays them."""
    cuda.refuses = {1} if refused else set()
    monkeypatch.setattr(service.model.forward, "find_or_build", lambda *_, **__: Path("/no/entry"))
    monkeypatch.setattr(service.model.forward, "_hardware", lambda _: {})
    arguments = ["--device", "cuda", "--image-size", str(_IMAGE_SIZE), "--micro-batch-size", "1", *flags]
    forward = load_forward(load_settings(arguments, "unit_tests"), _GPU, "bfloat16")
    details = Classifier(forward, {"Cat": [0], "Dog": [1]}, torch.device("cpu"), "bfloat16").details
    assert (details["engine"], "fallback" in details) == (engine, is_fallback)
