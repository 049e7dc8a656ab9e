"""``python -m sparsecircuits``: the command line without the installed script."""

import sys

from sparsecircuits.cli import main

sys.exit(main())
