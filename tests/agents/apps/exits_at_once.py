"""Exits with the code in EXIT_CODE, 3 if there is none."""

import os
import sys

sys.exit(int(os.environ.get("EXIT_CODE", "3")))
