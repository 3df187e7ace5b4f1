"""Frozen records that all wings share: of measurements, of verdicts, and of the machine."""

from servegate.records.machine import Fingerprint, MachineLoad
from servegate.records.measurements import (
    REST,
    BurstRecord,
    Cell,
    Checkout,
    GpuUse,
    Latency,
    ProcessRecord,
    Sample,
    StageTime,
    Telemetry,
)
from servegate.records.verdicts import Change, Status, Verdict

__all__ = [
    "REST",
    "BurstRecord",
    "Cell",
    "Change",
    "Checkout",
    "Fingerprint",
    "GpuUse",
    "Latency",
    "MachineLoad",
    "ProcessRecord",
    "Sample",
    "StageTime",
    "Status",
    "Telemetry",
    "Verdict",
]
