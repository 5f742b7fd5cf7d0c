"""The core: what a turn is, as pure functions over facts.

    decide(state, input)  -> facts      what happened
    evolve(state, fact)   -> state      fold one fact
    todo(state)           -> commands   what is owed now
    present(state, fact)  -> events     what a client sees of it

Nothing here waits, reads a clock, draws a number or touches a file; those come in with the input. That is why every
rule can be tested at every point at which a process can die.
"""

from __future__ import annotations

__all__: list[str] = []
