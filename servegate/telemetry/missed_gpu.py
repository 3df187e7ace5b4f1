"""Report a process that runs on the CPU of a machine with a GPU, because no class of machine has such figures."""

from collections.abc import Mapping

from servegate.telemetry.devices import CPU, reported_devices
from servegate.telemetry.gpus import open_gpus


def tell_missed_gpu(details: Mapping[str, str]) -> dict[str, str]:
    """Add the reason why a process that reports `cpu` can't be measured here, under a name that ends with `fallback`.

    Parameters
    ----------
    details:
        The details that a process reported; a name that ends with `device` gives its device.

    Raises
    ------
    MeasurementError
        For the same reasons as `open_gpus`.
    """
    told = dict(details)
    on_cpu = [name for name, text in reported_devices(details).items() if text == CPU]
    if on_cpu:
        with open_gpus() as gpus:
            names = sorted({gpu.name for gpu in gpus})
        if names:
            told[f"{on_cpu[0]} fallback"] = (
                f"{on_cpu[0]} is cpu on a machine with {' + '.join(names)}; to measure the CPU, hide the GPU from the "
                "whole run by CUDA_VISIBLE_DEVICES=-1, which makes it another class of machine"
            )
    return told
