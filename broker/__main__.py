"""`python -m broker` serves."""

import sys

from broker.server.process import main

if __name__ == "__main__":
    sys.exit(main())
