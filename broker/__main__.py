"""`python -m broker` serves."""

import os
import sys

# Read when grpc is imported: anybody who connects without TLS could fill the log with lines that are not ours.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from broker.server.process import main

if __name__ == "__main__":
    sys.exit(main())
