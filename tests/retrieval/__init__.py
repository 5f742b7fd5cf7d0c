"""How well memory finds what was said: conversations whose answers are known, and the scorer.

`python -m tests.retrieval` prints recall at 5, 10 and 25; `test_retrieval` keeps it from falling.
"""

from __future__ import annotations
