"""The processes of a real server."""

import sys
from pathlib import Path

import psutil


def server_command(*flags: str) -> list[str]:
    """The command that starts a server that logs errors alone."""
    return [sys.executable, "-m", "service.server", "--log-level", "error", *flags]


def workers_of(server_pid: int) -> list[psutil.Process]:
    """The inference processes, without those that have just ended."""
    workers = []
    for child in psutil.Process(server_pid).children():
        try:
            if any("spawn_main" in argument for argument in child.cmdline()):
                workers.append(child)
        except psutil.NoSuchProcess:
            continue
    return workers


def http_processes_of(server_pid: int) -> list[psutil.Process]:
    """The HTTP processes: on Linux, those whose event loop has a file of the kernel's."""
    workers = workers_of(server_pid)
    return [
        child
        for child in psutil.Process(server_pid).children()
        if child not in workers and "anon_inode:[eventpoll]" in _open_files(child.pid)
    ]


def _open_files(pid: int) -> list[str]:
    files = []
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            files.append(str(descriptor.readlink()))
    except FileNotFoundError:
        pass  # the process or one of its files has gone meanwhile
    return files
