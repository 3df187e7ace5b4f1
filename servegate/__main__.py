"""`python -m servegate` is the command `servegate`."""

import sys

from servegate.cli import main

sys.exit(main())
