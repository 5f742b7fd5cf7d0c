"""For tests of your own: fakes of what the engine takes from outside (`fakes`), and suites that every implementation
of a port must pass (`model_contract`, `store_contract`). Import the module you need.
"""

from __future__ import annotations

__all__: list[str] = []
