"""`python -m lamina` is the command `lamina`."""

import sys

from lamina.cli.main import main

sys.exit(main())
