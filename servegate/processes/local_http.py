"""Ask a server of this machine, past any proxy that the environment names."""

import http.client
import urllib.request

# A proxy can't reach what listens on 127.0.0.1 here. It takes what `urllib.request.urlopen` takes.
open_local = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def answers_200(url: str) -> bool:
    """Tell whether the server answers 200 now; one that isn't listening yet, or answers 503, may do so later."""
    try:
        with open_local(url, timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False
