"""TCP ports of 127.0.0.1."""

import socket

_ports_given: set[int] = set()


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1, each time another: an earlier caller may not have opened its port yet."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        if port not in _ports_given:
            _ports_given.add(port)
            return port


def is_port_free(port: int) -> bool:
    """Whether no process listens on the port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) != 0
