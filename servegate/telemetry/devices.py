"""The devices that processes say they compute on."""

from collections.abc import Mapping

CPU = "cpu"
_NOT_KNOWN = "unknown"


def reported_devices(details: Mapping[str, str]) -> dict[str, str]:
    """Return the device under each name that ends with `device`, without devices that the process doesn't know.

    Parameters
    ----------
    details:
        The details that a process reports, see `HttpService.describe`.
    """
    return {name: text for name, text in details.items() if name.split()[-1:] == ["device"] and text != _NOT_KNOWN}


def reports_gpu(details: Mapping[str, str]) -> bool | None:
    """Whether a process says that it computes on a GPU; None if it reports no device.

    Every device but a CPU counts as one: a process queues its work there and doesn't compute it itself.
    """
    # A project's `describe` may return other values than text.
    devices = [str(value).lower() for value in reported_devices(details).values()]
    return any(not device.startswith(CPU) for device in devices) if devices else None
