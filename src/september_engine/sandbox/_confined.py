"""The inside of a sandbox: confines a command, watches over it, and leaves nothing of it. In an interpreter of its own.

Two processes. The watcher adopts whatever the command starts and leaves behind, and kills all of it when the command
has ended, when it is told to (SIGTERM), and when the engine has died (SIGTERM, too). The other one confines itself and
becomes the command. Under Landlock the watcher has put itself into a domain that signals cannot leave: what it then
kills, by one call that no fork can outrun, is its own descendants and nothing else.
"""

from __future__ import annotations

import _signal as signals  # type: ignore[import-not-found]  # `signal` itself makes enums first, at twice our cost
import fcntl
import os
import resource
import select
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket, socketpair

from . import _syscalls as kernel
from ._broker import Broker
from ._guard import Guard, TooLarge, remove_all, run_tool
from ._names import Names
from ._order import Order, Report

__all__ = ["main"]

CANNOT_RUN, NOT_FOUND = 126, 127
LOCK_POLL = 0.02
ORDINARY = ("SIGCHLD", "SIGHUP", "SIGINT", "SIGPIPE", "SIGQUIT", "SIGTERM", "SIGXFSZ")
"""Signals that Python, or the engine's program, may have set aside: a command expects them as usual."""

LIKELY_KILLED = b"1000"
"""The command goes first when memory runs out, before anything else of this machine."""


class Stopped(Exception):
    """Somebody does not want it any more."""


class Watcher:
    """Runs one command as ordered."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._command = 0
        self._broker: Broker | None = None
        self._guards: list[Guard] = []
        self._locks: list[int] = []
        self._scratch: str | None = None
        self._stopped = False
        self._woken, writes = os.pipe()
        os.set_blocking(writes, False)
        signals.set_wakeup_fd(writes)
        signals.signal(signals.SIGCHLD, lambda *_: None)
        signals.signal(signals.SIGTERM, lambda *_: setattr(self, "_stopped", True))

    def run(self) -> Report:
        """From the first wall to the last trace."""
        code, failed = None, ""
        try:
            self._prepare()
            self._start()
            code = self._watch()
        except Stopped:
            pass
        except TooLarge as large:
            failed = f"{large} is too large to be guarded"
        except OSError as error:
            failed = str(error)
        self._kill_all()
        changed, problem = self._put_back()
        self._remove_scratch()
        gone = () if self._broker is None else self._broker.gone
        return Report(code=code, failed=failed or problem, put_back=tuple(changed), gone=gone)

    def _prepare(self) -> None:
        kernel.keep_orphans()
        kernel.die_with_parent(signals.SIGTERM)
        if os.getppid() != self._order.parent:
            raise Stopped
        if not self._order.landlock:
            return
        kernel.no_new_privileges()
        kernel.drop_capabilities()
        kernel.restrict(kernel.new_ruleset(files=False, tcp=False))
        self._signals_stay_inside()
        self._lock()
        self._guards = [Guard(root, path) for root, path in self._order.guards]
        folder = f"/tmp/september-{os.urandom(12).hex()}"
        os.mkdir(folder, 0o700)
        self._scratch = os.path.realpath(folder)

    def _signals_stay_inside(self) -> None:
        """Before anything relies on it that would else end every process of this user."""
        try:
            os.kill(self._order.parent, 0)
        except PermissionError:
            return
        raise OSError("Landlock does not keep signals in")

    def _lock(self) -> None:
        """One guarded command at a time in a folder: else one would put back what another has just changed."""
        for root in sorted({root for root, _ in self._order.guards}):
            file = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._locks.append(file)
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._wait(LOCK_POLL)

    def _start(self) -> None:
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
        self._command = os.fork()
        if self._command == 0:
            ours.close()
            _become(self._order, self._scratch, theirs)
        theirs.close()
        problem, files, _, _ = ours.recvmsg(4096, 64)
        for _, _, data in files:
            self._broker = self._new_broker(int.from_bytes(data[:4], sys.byteorder))
        while more := ours.recv(4096):  # nothing comes once the command runs
            problem += more
        ours.close()
        if said := problem.strip(b"\0"):
            raise OSError(said.decode(errors="replace"))

    def _new_broker(self, listener: int) -> Broker:
        os.set_inheritable(listener, False)
        order = self._order
        scratch = self._scratch or ""
        names = Names(opened=order.opened, writable=order.writable, held=order.held, fixed=order.fixed, scratch=scratch)
        writable = (*order.writable, *order.opened, scratch)
        return Broker(listener, writable=writable, held=order.held, fixed=order.fixed, names=names)

    def _watch(self) -> int:
        while True:
            ready = self._wait(None)
            if self._broker is not None and self._broker.listener in ready:
                self._broker.answer()
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == self._command:
                    return os.waitstatus_to_exitcode(status)
                if pid == 0:
                    break

    def _wait(self, seconds: float | None) -> list[int]:
        """Until something happens. Raises `Stopped`."""
        watched = [self._woken, *([] if self._broker is None else [self._broker.listener])]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, 4096)
        if self._stopped:
            raise Stopped
        return ready

    def _kill_all(self) -> None:
        """Returns when there is nothing left."""
        if self._broker is not None:
            os.close(self._broker.listener)
        while True:
            try:
                if self._order.landlock and self._command:
                    os.kill(-1, signals.SIGKILL)
                else:
                    for child in _children():
                        os.kill(child, signals.SIGKILL)
            except ProcessLookupError:
                pass
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _put_back(self) -> tuple[list[str], str]:
        changed, problem = [], ""
        for guard in self._guards:
            try:
                if guard.put_back():
                    changed.append(guard.path)
            except OSError as error:
                problem = f"{guard.path} was changed, and cannot be put back: {error}"
        for lock in self._locks:
            os.close(lock)
        return changed, problem

    def _remove_scratch(self) -> None:
        if self._scratch is None:
            return
        try:
            os.rmdir(self._scratch)
        except OSError:  # it was used
            remove_all(self._scratch)
        if os.path.lexists(self._scratch):  # and some of it cannot be entered
            run_tool("chmod", "-R", "u+rwX", self._scratch)
            remove_all(self._scratch)


def _children() -> list[int]:
    pid = os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:
        return [int(child) for child in file.read().split()]


def _become(order: Order, scratch: str | None, channel: socket) -> None:
    """Confine oneself and run the command. Never returns; what goes wrong before that is told on the channel."""
    try:
        os.setsid()
        kernel.die_with_parent(signals.SIGKILL)
        os.chdir(order.cwd)
        for name in ORDINARY:
            signals.signal(getattr(signals, name), signals.SIG_DFL)
        _limit(order.limits)
        environment = order.environment
        if order.landlock and scratch is not None:
            environment = {"TMPDIR": scratch, **environment}
            _wall_in(order, scratch, channel)
    except BaseException as error:
        channel.sendall(str(error).encode() or b"?")
        os._exit(CANNOT_RUN)
    channel.close()
    _execute(order.argv, environment)


def _wall_in(order: Order, scratch: str, channel: socket) -> None:
    ruleset = kernel.new_ruleset(files=True, tcp=order.tcp)
    kernel.allow_below(ruleset, scratch, kernel.ALL_RIGHTS & ~kernel.MAKE_DEVICES, follow=False)
    for path, rights, follow in order.rules:
        kernel.allow_below(ruleset, path, rights, follow=follow)
    kernel.restrict(ruleset)
    listener = kernel.install_filter(order.program)
    channel.sendmsg([b"\0"], [(SOL_SOCKET, SCM_RIGHTS, listener.to_bytes(4, sys.byteorder))])


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind: int = getattr(resource, name)
        if name == "RLIMIT_NPROC":
            value += _threads_of_user()
        _, most = resource.getrlimit(kind)
        wanted = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (wanted, wanted))
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(LIKELY_KILLED)
    except OSError:  # a /proc that is not all there
        pass


def _threads_of_user() -> int:
    """The kernel counts all of a user's, so the limit must be so much above what is there already."""
    user, count = os.getuid(), 0
    if user == 0:  # whom it does not hold anyway
        return 0
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                status = os.stat(f"/proc/{name}/task")
            except OSError:  # it has ended
                continue
            if status.st_uid == user:
                count += status.st_nlink - 2
    return count


def _execute(argv: tuple[str, ...], environment: dict[str, str]) -> None:
    name = argv[0]
    folders = [""] if "/" in name else [f"{folder}/" for folder in environment.get("PATH", "").split(":")]
    code, why = NOT_FOUND, "not found"
    for folder in folders:
        try:
            os.execve(f"{folder}{name}", argv, environment)
        except FileNotFoundError:
            continue
        except OSError as error:
            code, why = CANNOT_RUN, os.strerror(error.errno or 0)
    os.write(2, f"{name}: {why}\n".encode())
    os._exit(code)


def main(order: int, status: int) -> None:
    """Read the order from one file, write the report to the other. Never returns."""
    os.set_inheritable(order, False)
    os.set_inheritable(status, False)
    with open(order, "rb") as file:
        report = Watcher(Order.load(file.read())).run()
    try:
        os.write(status, report.dump())
    except BrokenPipeError:  # the engine has died
        pass
    os._exit(0)  # an orderly end of an interpreter takes milliseconds, for nothing
