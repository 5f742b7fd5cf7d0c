"""Long-term memory: the records and ports (`base`), the memory itself (`longterm`), where it is kept (`sqlite`,
`inprocess`), and an embedder that needs no network (`minilm`). Import the one you need.
"""

from __future__ import annotations

__all__: list[str] = []
