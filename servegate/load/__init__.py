"""The requests that are sent, the answers that are expected, and the programs that make the load."""
