"""`python -m labkit`: run notebooks headless, see `labkit.notebook.batch`."""

import sys

from labkit.notebook.batch import main

if __name__ == "__main__":
    sys.exit(min(1, main()))
