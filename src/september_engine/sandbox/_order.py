"""What the outside of a sandbox tells its inside, and the other way round, as bytes. Part of a sandbox's inside."""

from __future__ import annotations

import marshal

__all__ = ["Order", "Report"]


class Order:
    """One command, and the walls around it.

    `rules` are Landlock's: a path, the rights below it, and whether to follow a link there. Without `landlock` nothing
    is walled in: the command is only watched over. `program` is the seccomp filter. `guards` are pairs of a writable
    folder and a path below it that is to be as before; for the broker are `writable`, `held`, which
    it leaves alone with all below, and `fixed`, which it leaves alone; what is `opened` it makes, changes and removes
    for the command.
    """

    def __init__(
        self,
        *,
        parent: int,
        argv: tuple[str, ...],
        cwd: str,
        environment: dict[str, str],
        limits: dict[str, int],
        landlock: bool = False,
        tcp: bool = True,
        rules: tuple[tuple[str, int, bool], ...] = (),
        program: bytes = b"",
        guards: tuple[tuple[str, str], ...] = (),
        writable: tuple[str, ...] = (),
        held: tuple[str, ...] = (),
        fixed: tuple[str, ...] = (),
        opened: tuple[str, ...] = (),
    ) -> None:
        self.parent = parent
        self.argv = argv
        self.cwd = cwd
        self.environment = environment
        self.limits = limits
        self.landlock = landlock
        self.tcp = tcp
        self.rules = rules
        self.program = program
        self.guards = guards
        self.writable = writable
        self.held = held
        self.fixed = fixed
        self.opened = opened

    def dump(self) -> bytes:
        return marshal.dumps(vars(self))

    @classmethod
    def load(cls, data: bytes) -> Order:
        return cls(**marshal.loads(data))


class Report:
    """How it ended: `code` as `subprocess` has it, or None where it was stopped; or why it `failed` to begin or end.

    `put_back` are the protected paths that the command had changed, `gone` what it made where nothing was opened.
    """

    def __init__(
        self,
        *,
        code: int | None = None,
        failed: str = "",
        put_back: tuple[str, ...] = (),
        gone: tuple[str, ...] = (),
    ) -> None:
        self.code = code
        self.failed = failed
        self.put_back = put_back
        self.gone = gone

    def dump(self) -> bytes:
        return marshal.dumps(vars(self))

    @classmethod
    def load(cls, data: bytes) -> Report:
        return cls(**marshal.loads(data))
