"""No process of the service outlives the one that started it."""

import ctypes
import os
import signal
import sys

import psutil

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process as soon as its parent ends, however the parent ends.

    The kernel also kills a process that hangs or is stopped, which no thread of its own could do. What it waits for is
    the end of the *thread* that started the process, so that thread must live as long as the parent. Only Linux offers
    this: elsewhere the processes of a server that is killed with SIGKILL stay behind.

    Parameters
    ----------
    parent_pid:
        The parent may have ended before this call; then this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def kill_tree(pid: int) -> None:
    """Kill a process and everything that it has started. It may have ended already."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass  # it has ended meanwhile


def kill_children() -> None:
    """Kill everything that this process has started, except multiprocessing's resource tracker, which ends by itself.

    multiprocessing has no record of a child that it was starting when a signal interrupted it; the kernel has.
    """
    for child in psutil.Process().children():
        try:
            is_tracker = "resource_tracker" in " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile
        if not is_tracker:
            kill_tree(child.pid)
