"""For tests of your own: fakes of what the engine takes from outside (`fakes`), a Messages API that follows a script
(`messages_server`), and suites that every implementation of a port must pass (`model_contract`, `store_contract`).
Import the module you need.
"""

from __future__ import annotations

__all__: list[str] = []
