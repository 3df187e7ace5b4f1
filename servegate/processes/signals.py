"""Send a signal to the main thread of another process."""

import ctypes
import signal
from pathlib import Path


def send_to_main_thread(pid: int, number: signal.Signals) -> bool:
    """Send a signal that no other thread of the process can take.

    Returns
    -------
    bool
        False where it wasn't sent: the main thread blocks it, so that another thread is to take it, or the system
        doesn't say whether it does; the process has ended; or the system has no such call, as macOS.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
        send = ctypes.CDLL(None).tgkill
    except (OSError, AttributeError):
        return False
    # Systems that imitate Linux may leave the line out.
    blocked = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith(b"SigBlk:")), None)
    if blocked is None or blocked & 1 << (number - 1):
        return False
    # The main thread has the number of its process.
    return bool(send(pid, pid, int(number)) == 0)
