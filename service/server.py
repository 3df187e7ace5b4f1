"""The server: `python -m service.server`, `make serve`. It prepares the process and hands over to `service.app`."""

import sys
from collections.abc import Sequence

from service.environment import ensure_environment, share_metrics
from service.settings import SettingsError, load_settings

_MODULE = "service.server"


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the process's exit status."""
    try:
        settings = load_settings(arguments, f"python -m {_MODULE}")
        ensure_environment(settings, _MODULE, arguments)
        share_metrics()
        # Imported here: the process may have started over above, which would import all this twice, and
        # prometheus_client must not be imported before share_metrics.
        from service.app import serve

        return serve(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
