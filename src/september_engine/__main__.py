"""`python -m september_engine`."""

from __future__ import annotations

import sys

try:
    from ._cli import main
except KeyboardInterrupt:  # Ctrl-C while it loads
    sys.exit(130)

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
