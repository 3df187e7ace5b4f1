"""Whole runs of the gate, simulated by the judge's own code: on recorded noise and on synthetic machines."""
