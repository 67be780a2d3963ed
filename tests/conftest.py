"""One thread for torch in the tests: tiny models gain nothing from two, and lose on busy cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
