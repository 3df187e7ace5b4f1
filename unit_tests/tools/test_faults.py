"""Faults that throughput hardly shows: each does what its name says, where the service calls it."""

import time
import tracemalloc
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from perf_tests.photos import large_cat_jpeg
from perf_tests.targets import API, LATENCY, MODEL, PHOTO
from service.images import ImageReader
from service.images.resizing import resize
from tools.calibration.injections.faults import FAULTS, Fault
from unit_tests.builders.repository import ROOT

ITS_FIGURES = {f"{target.name} {kind.name}" for target in (API, MODEL, PHOTO, LATENCY) for kind in target.figures}


class Faulty:
    """A file with the function that a fault is put around; each call of it takes 10 ms of CPU time."""

    def __init__(self, fault: Fault, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept_s: list[float] = []
        self.cpu_s = 0.0
        monkeypatch.setattr(time, "sleep", self.slept_s.append)
        monkeypatch.setattr(time, "thread_time", self._read_clock)
        owner, _, method = name.partition(".")
        source = folder / fault.file
        source.parent.mkdir(parents=True)
        source.write_text(
            f"class {owner}:\n" + indent(f"def {method}(self, data):\n    work()\n    return data\n", "    ")
        )
        fault.inject(folder)
        self.module: dict[str, Any] = {"work": self._work}
        exec(source.read_text(), self.module)
        self.call = getattr(self.module[owner](), method)

    def _work(self) -> None:
        self.cpu_s += 0.010

    def _read_clock(self) -> float:
        self.cpu_s += 1e-4
        return self.cpu_s


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Faulty:
    kind, name = request.param
    (fault,) = FAULTS[kind].parts
    return Faulty(fault, name, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("faulty", "every"),
    [
        (("late 1%", "ImageReader.read"), 100),
        (("late 2%", "ImageReader.read"), 50),
        (("late batches", "Classifier.predict"), 50),
    ],
    indirect=["faulty"],
)
def test_one_in_so_many_is_late(faulty: Faulty, every: int) -> None:
    assert [faulty.call(number) for number in range(200)] == list(range(200))
    assert faulty.slept_s == [0.25] * (200 // every)


@pytest.mark.parametrize("faulty", [("late 1%, computing", "ImageReader.read")], indirect=True)
def test_what_computes_is_late_by_as_much(faulty: Faulty) -> None:
    for number in range(99):
        faulty.call(number)
    before_s = faulty.cpu_s
    faulty.call(99)
    assert faulty.cpu_s - before_s == pytest.approx(0.26, abs=0.002)
    assert faulty.slept_s == []


@pytest.mark.parametrize("faulty", [("keeps 20 KB", "ImageReader.read")], indirect=True)
def test_memory_is_kept_of_each_request(faulty: Faulty) -> None:
    tracemalloc.start()
    try:
        for _ in range(100):
            faulty.call(None)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes / 100 == pytest.approx(20_000, rel=0.05)


@pytest.mark.parametrize("faulty", [("large photos +30%", "ImageReader.read")], indirect=True)
def test_large_photos_alone_are_dearer(faulty: Faulty) -> None:
    costs_s = []
    for size in (50_000, 1_300_000):
        before_s = faulty.cpu_s
        faulty.call(bytes(size))
        costs_s.append(faulty.cpu_s - before_s)
    assert costs_s == pytest.approx([0.010, 0.013], abs=0.0005)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_reaches_what_the_service_has(kind: str) -> None:
    """Its file and what it is put around exist; the figures that show it are figures of the project."""
    for fault in FAULTS[kind].parts:
        source = (ROOT / fault.file).read_text()
        if "_disturbed(" in fault.code:
            name, _, _ = fault.code.rstrip().rpartition("\n")[2].partition(" =")
            owner, _, method = name.partition(".")
            assert f"class {owner}" in source
            assert f"def {method}(" in source
        assert set(fault.figures) <= ITS_FIGURES | {"photo throughput"}
    assert len({other.digest for other in FAULTS.values()}) == len(FAULTS)


def test_the_service_decodes_a_large_photo_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it has the decoder draw it smaller."""
    sizes: list[tuple[int, int]] = []

    def note_size(image: Image.Image, *box: Any) -> Image.Image:
        sizes.append(image.size)
        return resize(image, *box)

    monkeypatch.setattr("service.images.reader.resize", note_size)
    monkeypatch.setattr(JpegImageFile, "draft", JpegImageFile.draft)  # the fault replaces it
    for code in ("", FAULTS["large photos in full"].parts[0].code):
        exec(code, {})
        ImageReader(size=224, crop_fraction=0.875).read(large_cat_jpeg())
    assert sizes == [(504, 336), (4032, 2688)]


def test_four_faults_in_one_change_are_all_injected(tmp_path: Path) -> None:
    together = FAULTS["all four"]
    for fault in together.parts:
        (tmp_path / fault.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / fault.file).write_text("")
    together.inject(tmp_path)
    for fault in together.parts:
        assert fault.code in (tmp_path / fault.file).read_text()
        assert set(fault.figures) <= set(together.figures)
        assert set(fault.groups) <= set(together.groups)
    assert len(together.parts) == 4
