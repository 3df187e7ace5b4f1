"""Frozen records that all wings share: of measurements, of verdicts, and of the machine."""

from servegate.records.cells import Cell, Checkout
from servegate.records.machine import Fingerprint, MachineLoad
from servegate.records.samples import REST, BurstRecord, Latency, ProcessRecord, Sample, StageTime
from servegate.records.telemetry import GpuUse, Telemetry
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
