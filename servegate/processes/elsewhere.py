"""A server that doesn't answer where it should may listen elsewhere: its sockets and its log tell.

LitServe's first example has its port in the code, `server.run(port=8000)`, and so has many a server that grew from it.
"""

import psutil

from servegate.processes.local_http import answers_200

_ADVICE = (
    "let it take the port from its command line or its environment, as in "
    "HttpService(command, environment={'PORT': '{port}'}) and run(port=int(os.environ['PORT']))"
)
_PORT_IN_USE = "address already in use"


def find_elsewhere(pid: int, port: int, health_path: str) -> str | None:
    """Say that a server is ready on another port than the one that it was given; None while nothing shows it.

    A port that answers 200 at every path, as one for metrics alone may do, shows nothing. One for management may answer
    at the health path before the server opens its own, so the caller must look again.
    """
    ports = _list_listening(pid)
    if port in ports:
        return None
    for other in sorted(ports):
        url = f"http://127.0.0.1:{other}"
        if answers_200(url + health_path) and not answers_200(f"{url}/no-such-path-of-a-service"):
            return f"answers on port {other}, but was given port {port}; {_ADVICE}"
    return None


def explain_silence(pid: int, port: int, log: str) -> str:
    """Write half a sentence about a server that has not become ready; empty where nothing is known."""
    ports = _list_listening(pid)
    if ports and port not in ports:
        return f": it listens on port {', '.join(map(str, sorted(ports)))}, but was given port {port}; {_ADVICE}"
    if port not in ports and _PORT_IN_USE in log.lower():
        return f": it wanted a port that is in use, but was given port {port}; {_ADVICE}"
    return ""


def _list_listening(pid: int) -> set[int]:
    """List the TCP ports that a process and its children listen on."""
    ports: set[int] = set()
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return ports
    for process in processes:
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue  # it has ended, or is another user's
        ports.update(connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN)
    return ports
