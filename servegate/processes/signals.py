"""Send a signal to the main thread of another process."""

import ctypes
import signal
from pathlib import Path


def send_to_main_thread(pid: int, number: signal.Signals) -> bool:
    """Send a signal that no other thread of the process can take.

    Returns
    -------
    bool
        False where it wasn't sent: the main thread blocks it, so that another thread is to take it; the process has
        ended; or the system isn't Linux, which alone has this call.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        send = ctypes.CDLL(None).tgkill
    except (OSError, AttributeError):
        return False
    blocked = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk:"))
    if blocked & 1 << (number - 1):
        return False
    # The main thread has the number of its process.
    return bool(send(pid, pid, int(number)) == 0)
