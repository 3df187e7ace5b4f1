"""Ask a service that has just become ready for its first answer."""

import http.client
import urllib.request

from servegate.load.requests import wrong_answer
from servegate.load.workload import Workload
from servegate.processes.local_http import open_local

_TIMEOUT_S = 60.0


def is_answered_rightly(url: str, workload: Workload) -> bool:
    """Send a request once. An error raises nothing here: the measurement meets it again and reports it."""
    # As the load client sends it; urllib would say that the body is a form.
    headers = {"Content-Type": "application/octet-stream", **workload.headers}
    request = urllib.request.Request(url + workload.path, workload.body, headers, method=workload.method)
    try:
        with open_local(request, timeout=_TIMEOUT_S) as response:
            return wrong_answer(workload, response.status, response.read()) is None
    except (OSError, http.client.HTTPException):
        return False
