"""`python -m starloom.native`: compile the library where it is missing or older than its sources; say what computes."""

import os
import sys

from starloom.native import build, status

if __name__ == "__main__":
    try:
        build.build(os.environ.get("CC"))
    except build.BuildError as error:
        sys.exit(f"the native kernels were not built: {error}")
    print(status().describe())
