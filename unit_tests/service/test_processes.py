"""A process ends with the one that started it, and takes everything with it that it has started itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.processes import kill_tree
from unit_tests.builders.repository import ROOT
from unit_tests.builders.waiting import is_running, wait_until

# Each of the first argv[1] processes starts the next one, and prints its id; all stay until they are killed.
_CHAIN = """
import subprocess, sys, time
deeper = int(sys.argv[1]) - 1
if deeper >= 0:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[2], str(deeper), sys.argv[2]])
    print(child.pid, flush=True)
time.sleep(60)
"""

# Starts a child that shall end with it, prints the child's id once the child has asked for that, and stays.
_PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
_CHILD = """
import sys, time
from service.processes import end_with_parent
end_with_parent(int(sys.argv[1]))
print("asked", flush=True)
time.sleep(60)
"""


@contextmanager
def _started(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _read_id(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.fixture
def chain() -> Iterator[list[int]]:
    """Three processes, each started by the one before it; the first by this one."""
    with _started(_CHAIN, "2", _CHAIN) as first:
        ids = [first.pid, _read_id(first), _read_id(first)]
        yield ids
        for pid in ids:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_process_ends_with_its_parent(stopped: bool) -> None:
    """Also when it is suspended, as the gate suspends a server: no thread of its own could run then."""
    with _started(_PARENT, _CHILD) as parent:
        child = _read_id(parent)
        if stopped:
            os.kill(child, signal.SIGSTOP)
        assert is_running(child)
        parent.kill()
        wait_until(lambda: not is_running(child), "the child has ended")


def test_a_process_whose_parent_has_ended_already_ends_at_once() -> None:
    """The kernel reports only an end that is still to come, so the process compares its parent's id."""
    with _started(_CHILD, str(os.getppid())) as child:
        assert child.wait(60) == -signal.SIGKILL


def test_a_process_is_killed_with_all_that_it_has_started(chain: list[int]) -> None:
    """Its child's child, too; one that has ended already is no error."""
    kill_tree(chain[0])
    wait_until(lambda: not any(map(is_running, chain)), "all have ended")
    kill_tree(2**22 + 1)  # more than any process id


def test_a_process_kills_its_children_but_not_the_resource_tracker() -> None:
    """The tracker ends by itself, and removes what they have left."""
    program = f"""
import multiprocessing.resource_tracker, subprocess, sys
from service.processes import kill_children

multiprocessing.resource_tracker.ensure_running()
chain = subprocess.Popen([sys.executable, "-c", {_CHAIN!r}, "1", {_CHAIN!r}], stdout=subprocess.PIPE)
grandchild = int(chain.stdout.readline())
kill_children()
print(chain.wait(), grandchild, multiprocessing.resource_tracker._resource_tracker._check_alive())
"""
    with _started(program) as process:
        assert process.stdout is not None
        status, grandchild, is_tracked = process.stdout.read().split()
    assert (int(status), is_tracked) == (-signal.SIGKILL, "True")
    wait_until(lambda: not is_running(int(grandchild)), "the child's child has ended")
