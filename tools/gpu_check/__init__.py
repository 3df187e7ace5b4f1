"""What a machine with a GPU does with the service, in ten minutes: `make gpu-check`."""
