"""Stored baselines: what is written is read, and nothing else is."""

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from servegate.errors import BaselineError, NoBaselineError
from servegate.records import Fingerprint
from servegate.storage.baselines import FORMAT_VERSION, StoredFile, baseline_path, read_baseline, write_baseline
from unit_tests.builders.repository import ROOT
from unit_tests.builders.stored_baselines import CELLS, CHECKOUT, HERE, document
from unit_tests.builders.tiny_project import TinyProject
from unit_tests.builders.waiting import wait_until

THERE = Fingerprint("AMD EPYC", 64, "NVIDIA L4", 1)
STORED = sorted((ROOT / "perf_tests" / "baselines").glob("*/baseline.json"))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change the stored JSON by hand."""
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write_baseline(tmp_path, HERE, CHECKOUT, document())
    baseline = read_baseline(tmp_path, HERE.machine_class)
    assert baseline.path == path == baseline_path(tmp_path, "amd-epyc-2-cores-no-gpu")
    assert baseline.throughput_per_s == {cell: tuple(values) for cell, values in CELLS.items()}
    assert baseline.checkout == CHECKOUT
    assert baseline.details == {"python": "3.11.7"}


def test_another_formatting_of_the_same_values_is_no_change(tmp_path: Path) -> None:
    """Version control may convert line ends, and an editor may reindent."""
    path = write_baseline(tmp_path, HERE, CHECKOUT, document())
    edit(path, lambda _: None)
    assert read_baseline(tmp_path, HERE.machine_class).checkout == CHECKOUT


def test_a_benchmark_that_is_no_cell_is_left_alone(tmp_path: Path) -> None:
    """Stock benchmarks may stand beside the gate's tests and are stored with them."""
    with_stock = document()
    with_stock["benchmarks"].append({"name": "test_stock", "extra_info": {}})
    write_baseline(tmp_path, HERE, CHECKOUT, with_stock)
    assert set(read_baseline(tmp_path, HERE.machine_class).throughput_per_s) == set(CELLS)


def test_without_a_baseline_the_classes_that_have_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoBaselineError, match=r"for this class of machine, amd-epyc-2-cores-no-gpu$"):
        read_baseline(tmp_path / "no such folder", HERE.machine_class)
    write_baseline(tmp_path, THERE, CHECKOUT, document())
    with pytest.raises(NoBaselineError, match=r"; there are baselines for: amd-epyc-64-cores-1x-nvidia-l4$"):
        read_baseline(tmp_path, HERE.machine_class)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_text("")


def speed_up(path: Path) -> None:
    def change(stored: Any) -> None:
        stored["benchmarks"][0]["extra_info"]["processes"][0]["throughput_per_s"] = 5.0

    edit(path, change)


def add_to_details(path: Path) -> None:
    edit(path, lambda stored: stored["servegate"]["details"].update(torch="2.0"))


def remove_checksum(path: Path) -> None:
    edit(path, lambda stored: stored["servegate"].pop("checksum"))


def make_newer(path: Path) -> None:
    edit(path, lambda stored: stored["servegate"].update(format_version=FORMAT_VERSION + 1))


def remove_record(path: Path) -> None:
    edit(path, lambda stored: stored.pop("servegate"))


def make_a_list(path: Path) -> None:
    path.write_text("[1, 2]")


def make_binary(path: Path) -> None:
    path.write_bytes(b"\x89PNG\xff\xfe")


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "is corrupt or half-written"),
        (empty, "is corrupt or half-written"),
        (speed_up, r"was changed after it was written \(its checksum is wrong\); restore it from git"),
        (add_to_details, "its checksum is wrong"),
        (remove_checksum, "its checksum is wrong"),
        (make_newer, rf"has format {FORMAT_VERSION + 1}, this servegate reads \(1, {FORMAT_VERSION}\)"),
        (remove_record, "is no baseline of servegate; accept one with --perf-accept"),
        (make_a_list, "is no baseline of servegate"),
        (make_binary, "can't be read: 'utf-8' codec"),
        (make_a_folder, "can't be read: .*Is a directory"),
    ],
)
def test_a_spoilt_file_is_refused_by_name(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    """It is an error of its own and not the absence of a baseline, which passes."""
    path = write_baseline(tmp_path, HERE, CHECKOUT, document())
    spoil(path)
    with pytest.raises(BaselineError, match=message) as caught:
        read_baseline(tmp_path, HERE.machine_class)
    assert not isinstance(caught.value, NoBaselineError)
    assert str(path) in str(caught.value)


def test_another_classs_file_copied_here_is_refused(tmp_path: Path) -> None:
    theirs = write_baseline(tmp_path, THERE, CHECKOUT, document())
    ours = baseline_path(tmp_path, HERE.machine_class)
    ours.parent.mkdir()
    ours.write_bytes(theirs.read_bytes())
    message = f"measured on another class of machine, {THERE.machine_class}, not on {HERE.machine_class}"
    with pytest.raises(BaselineError, match=message):
        read_baseline(tmp_path, HERE.machine_class)


@pytest.mark.parametrize("values", [[], [10.0], [10.0, 0.0], [10.0, -1.0], [10.0, float("nan")]])
def test_a_cell_without_usable_values_is_refused(tmp_path: Path, values: list[float]) -> None:
    """One process has no spread, and nothing above 0 has a logarithm."""
    write_baseline(tmp_path, HERE, CHECKOUT, document({"api[concurrency=1]": values}))
    with pytest.raises(BaselineError, match=r"no usable throughput for api\[concurrency=1\]"):
        read_baseline(tmp_path, HERE.machine_class)


@contextmanager
def a_disk_that_is_full_after(size_bytes: int) -> Iterator[None]:
    """Files of this process can't grow beyond this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_interrupted_write_leaves_the_old_file_whole_and_nothing_else(tmp_path: Path) -> None:
    path = write_baseline(tmp_path, HERE, CHECKOUT, document())
    before = path.read_bytes()
    with pytest.raises(BaselineError, match="can't be written: File too large"), a_disk_that_is_full_after(100):
        write_baseline(tmp_path, HERE, CHECKOUT, document({"api[concurrency=1]": [1.0, 2.0]}))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["baseline.json"]


WRITE_AGAIN_AND_AGAIN = [sys.executable, "-m", "unit_tests.builders.stored_baselines"]


def test_a_run_that_is_killed_as_it_writes_leaves_a_whole_baseline(tmp_path: Path) -> None:
    """The older one or the newer one; what is left of the unfinished one goes with the next."""
    path = write_baseline(tmp_path, HERE, CHECKOUT, document())
    command = [*WRITE_AGAIN_AND_AGAIN, str(tmp_path)]
    were_unfinished = 0
    for _ in range(8):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            wait_until(lambda: len(list(path.parent.iterdir())) == 2, "it writes")
            writer.kill()
        were_unfinished += len(list(path.parent.iterdir())) - 1
        assert set(read_baseline(tmp_path, HERE.machine_class).throughput_per_s) == {"api[concurrency=1]"}
    assert were_unfinished, "some were killed in the middle"
    write_baseline(tmp_path, HERE, CHECKOUT, document())
    assert [file.name for file in path.parent.iterdir()] == ["baseline.json"]


def test_two_that_write_at_a_time_write_one_after_the_other(tmp_path: Path) -> None:
    """None of them fails, and nothing unfinished stays."""
    path = write_baseline(tmp_path, HERE, CHECKOUT, document())
    command = [*WRITE_AGAIN_AND_AGAIN, str(tmp_path)]
    writers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    try:
        for writer in writers:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(20)]
            assert lines[-1] == b"20\n", writer.stderr and writer.stderr.read()
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert read_baseline(tmp_path, HERE.machine_class).path == path


def test_what_another_run_stored_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Nor what it removed."""
    path = baseline_path(tmp_path, HERE.machine_class)
    nothing = StoredFile.at(path)
    write_baseline(tmp_path, HERE, CHECKOUT, document(), replaces=nothing)
    first = StoredFile.at(path)
    for seen in (nothing, StoredFile(b"{}")):
        with pytest.raises(BaselineError, match="was replaced while this run measured"):
            write_baseline(tmp_path, HERE, CHECKOUT, document({}), replaces=seen)
    assert StoredFile.at(path) == first
    write_baseline(tmp_path, HERE, CHECKOUT, document({}), replaces=first)
    assert StoredFile.at(path) != first


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / HERE.machine_class).write_text("a file in the folder's place")
    with pytest.raises(BaselineError, match=r"baseline.json can't be written: File exists"):
        write_baseline(tmp_path, HERE, CHECKOUT, document())


def test_everyone_may_read_it(tmp_path: Path) -> None:
    path = write_baseline(tmp_path, HERE, CHECKOUT, document())
    assert path.stat().st_mode & 0o777 == 0o644


def test_it_has_a_line_a_process(tmp_path: Path) -> None:
    """So that a diff of two baselines can be read; what isn't known of any process stays a list of its own."""
    with_cpu = document({"api[concurrency=1]": [10.0, 11.0]})
    with_cpu["benchmarks"][0]["extra_info"] |= {
        "cpu_cores": [1.5, 1.6],
        "gpu_power_w": [],
        "p99_ms": [4.0, None],
        "unit": "requests",
    }
    lines = write_baseline(tmp_path, HERE, CHECKOUT, with_cpu).read_text().splitlines()
    assert '     {"throughput_per_s": 10.0, "cpu_cores": 1.5, "p99_ms": 4.0},' in lines
    assert '     {"throughput_per_s": 11.0, "cpu_cores": 1.6, "p99_ms": null}' in lines
    assert '    "gpu_power_w": [],' in lines


def test_a_file_of_the_first_format_is_read(tmp_path: Path) -> None:
    """Its figures are lists, and it names the gate as it was called then."""
    record: dict[str, Any] = {
        "format_version": 1,
        "machine_class": HERE.machine_class,
        "checkout": vars(CHECKOUT),
        "details": {"python": "3.11.7"},
    }
    old = {**document(), "perfgate": record}
    record["checksum"] = hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()
    path = baseline_path(tmp_path, HERE.machine_class)
    path.parent.mkdir()
    path.write_text(json.dumps(old, indent=1))
    baseline = read_baseline(tmp_path, HERE.machine_class)
    assert baseline.throughput_per_s == {cell: tuple(values) for cell, values in CELLS.items()}
    assert (baseline.checkout, baseline.details) == (CHECKOUT, {"python": "3.11.7"})


def test_a_baseline_that_names_no_client_processes_had_one(tmp_path: Path) -> None:
    """There was no choice then, so a run with one differs in nothing."""
    write_baseline(tmp_path, HERE, CHECKOUT, document())
    older = read_baseline(tmp_path, HERE.machine_class)
    now = {"python": "3.11.7", "load processes": "1"}
    assert older.differences(now) == []
    assert older.differences(now | {"load processes": "2"}) == [("load processes", "1", "2")]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_the_stored_baselines_are_small_and_readable(path: Path) -> None:
    assert path.stat().st_size < 60_000
    assert read_baseline(path.parents[1], path.parent.name).throughput_per_s


COMPARE = "pytest-benchmark compare"


def compare(stored: str, folder: Path) -> str:
    """What pytest-benchmark shows when the command is typed in a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        f"{COMPARE} {stored}",
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_pytest_benchmark_compares_a_users_file(tiny_project: TinyProject) -> None:
    """Its conftest.py may import the gate, and its pytest.ini make every warning an error."""
    tiny_project.accept()
    tiny_project.write("conftest.py", "import servegate\n")
    tiny_project.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")
    shown = compare(str(tiny_project.baseline_file), tiny_project.root)
    for cell in ("test_model[8]", "test_api[1]", "test_api[8]"):
        assert cell in shown


def test_pytest_benchmark_compares_what_this_repository_stores() -> None:
    """The command of the README, typed here, where pytest.ini makes every warning an error."""
    stored = "perf_tests/baselines/*/baseline.json"
    assert f"    {COMPARE} {stored}\n" in (ROOT / "README.md").read_text()
    shown = compare(stored, ROOT)
    for path in STORED:
        for benchmark in json.loads(path.read_text())["benchmarks"]:
            assert benchmark["name"] in shown
