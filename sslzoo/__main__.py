"""``python -m sslzoo``, for ``accelerate launch -m sslzoo``."""

import sys

from sslzoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
