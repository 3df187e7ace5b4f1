"""What the measured processes, the GPUs and the machine are and use."""
