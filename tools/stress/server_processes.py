"""The processes of a real server."""

import psutil


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
