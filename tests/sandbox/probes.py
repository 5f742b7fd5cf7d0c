"""Attempts to get out of a sandbox. Run inside of it, by any Python, with nothing but the standard library.

Each probe says what would be an escape, and gives back something if it has it. An error means that it was held.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace as World

PROBES: dict[str, Callable[[World], object]] = {}
NEEDS_ROOT: set[str] = set()
ALWAYS_HELD: set[str] = set()

libc = ctypes.CDLL(None, use_errno=True)


def probe(
    *, root: bool = False, always_held: bool = False
) -> Callable[[Callable[[World], object]], Callable[[World], object]]:
    """`root`: only root could do it without a sandbox. `always_held`: nobody could, here; it is tried all the same."""

    def add(function: Callable[[World], object]) -> Callable[[World], object]:
        PROBES[function.__name__] = function
        if root:
            NEEDS_ROOT.add(function.__name__)
        if always_held:
            ALWAYS_HELD.add(function.__name__)
        return function

    return add


def call(number: int, *arguments: object) -> int:
    """A system call; raises `OSError`."""
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def number_of(name: str) -> int:
    x86, arm = {
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "setns": (308, 268),
        "unshare": (272, 97),
        "clone3": (435, 435),
        "bpf": (321, 280),
        "keyctl": (250, 219),
        "perf_event_open": (298, 241),
        "io_uring_setup": (425, 425),
        "fanotify_init": (300, 262),
        "mount": (165, 40),
        "open_tree": (428, 428),
        "userfaultfd": (323, 282),
        "shmat": (30, 196),
        "syslog": (103, 116),
        "name_to_handle_at": (303, 264),
        "pidfd_open": (434, 434),
        "pidfd_getfd": (438, 438),
        "mq_open": (240, 180),
    }[name]
    return x86 if os.uname().machine == "x86_64" else arm


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@probe()
def reads_a_file_outside(w: World) -> object:
    """The content of a file outside of the workspace."""
    return open(w.secret).read()


@probe()
def lists_a_folder_outside(w: World) -> object:
    """The names in a folder outside."""
    return os.listdir(w.outside)


@probe()
def reads_through_a_link(w: World) -> object:
    """The content of a file outside, by a symbolic link in the workspace."""
    os.symlink(w.secret, f"{w.free}/link")
    return open(f"{w.free}/link").read()


@probe()
def reads_through_a_hard_link(w: World) -> object:
    """The content of a file outside, under a second name of it in the workspace."""
    os.link(w.secret, f"{w.free}/hard-link")
    return open(f"{w.free}/hard-link").read()


@probe()
def reads_through_the_root_of_proc(w: World) -> object:
    """The content of a file outside, by /proc/self/root."""
    return open(f"/proc/self/root{w.secret}").read()


@probe()
def reads_through_the_root_of_the_engine(w: World) -> object:
    """The content of a file outside, by the engine's own root."""
    return open(f"/proc/{w.engine}/root{w.secret}").read()


@probe(root=True)
def reads_the_password_hashes(w: World) -> object:
    """The hashes of the host's users."""
    return open("/etc/shadow").read()


@probe()
def reads_the_dotenv(w: World) -> object:
    """The keys in a hidden file of the workspace."""
    return open(f"{w.work}/.env").read()


@probe()
def reads_the_dotenv_by_a_second_name(w: World) -> object:
    """The same, linked."""
    os.link(f"{w.work}/.env", f"{w.free}/env-link")
    return open(f"{w.free}/env-link").read()


@probe()
def reads_the_database(w: World) -> object:
    """The engine's database, in the workspace."""
    return open(w.database).read()


@probe()
def reads_a_hidden_folder(w: World) -> object:
    """Names or contents in a hidden folder."""
    return os.listdir(w.keys) or None


@probe()
def reads_the_write_ahead_log(w: World) -> object:
    """What the engine has just written."""
    return open(f"{w.database}-wal").read()


@probe(always_held=True)
def has_files_of_the_engine_open(w: World) -> object:
    """An open file that it did not open itself."""
    with os.scandir("/proc/self/fd") as entries:
        names = [(entry.name, os.readlink(entry.path)) for entry in entries if os.path.lexists(entry.path)]
    return [where for name, where in names if int(name) > 2 and str(w.outside) in where]


@probe(always_held=True)
def has_the_environment_of_the_engine(w: World) -> object:
    """A key that the engine was started with."""
    return os.environ.get("ANTHROPIC_API_KEY")


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@probe()
def overwrites_a_file_outside(w: World) -> object:
    """A changed file outside."""
    with open(w.victim_file, "r+") as file:
        return file.write("x")


@probe()
def makes_a_file_outside(w: World) -> object:
    """A new file outside."""
    return os.open(f"{w.outside}/new", os.O_CREAT | os.O_WRONLY)


@probe()
def truncates_a_file_outside(w: World) -> object:
    """An emptied file outside."""
    os.truncate(w.victim_file, 0)
    return "truncated"


@probe()
def removes_a_file_outside(w: World) -> object:
    """A removed file outside."""
    os.unlink(f"{w.outside}/removable")
    return "removed"


@probe()
def moves_a_file_out(w: World) -> object:
    """A file of the workspace outside."""
    with open(f"{w.free}/own", "w") as file:
        file.write("x")
    os.rename(f"{w.free}/own", f"{w.outside}/moved-out")
    return "moved"


@probe()
def changes_permissions_outside(w: World) -> object:
    """A file outside that everybody can read now."""
    os.chmod(w.victim_file, 0o666)
    return "changed"


@probe()
def changes_permissions_through_a_link(w: World) -> object:
    """The same, by a link in the workspace."""
    os.symlink(w.victim_file, f"{w.free}/mode-link")
    os.chmod(f"{w.free}/mode-link", 0o666)
    return "changed"


@probe(root=True)
def changes_permissions_of_a_program(w: World) -> object:
    """A program of the system, changed by a file that is open for reading."""
    file = os.open("/usr/bin/env", os.O_RDONLY)
    os.fchmod(file, stat.S_IMODE(os.fstat(file).st_mode))
    return "changed"


@probe()
def changes_times_outside(w: World) -> object:
    """A file outside that seems to be old."""
    os.utime(w.victim_file, (0, 0))
    return "changed"


@probe()
def changes_attributes_outside(w: World) -> object:
    """An extended attribute of a file outside."""
    os.setxattr(w.victim_file, "user.probe", b"x")
    return "changed"


@probe()
def changes_the_owner_outside(w: World) -> object:
    """A change of owner that the kernel went through with."""
    os.chown(w.victim_file, os.getuid(), -1)
    return "changed"


@probe(root=True)
def writes_to_the_system(w: World) -> object:
    """A file among the system's programs."""
    path = "/usr/bin/september-probe"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.close(file)
    os.unlink(path)
    return "written"


@probe()
def makes_a_journal_for_the_database(w: World) -> object:
    """A journal that SQLite would roll back into the engine's database."""
    return os.open(f"{w.database}-journal", os.O_CREAT | os.O_WRONLY)


@probe(root=True)
def opens_a_setting_of_the_kernel(w: World) -> object:
    """Where the kernel is told what to run when a program crashes."""
    return os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)


@probe(root=True)
def opens_the_magic_keys_of_the_kernel(w: World) -> object:
    """Where a letter restarts the machine."""
    return os.open("/proc/sysrq-trigger", os.O_WRONLY)


@probe(root=True)
def opens_the_kernels_files(w: World) -> object:
    """A setting below /sys."""
    return os.open("/sys/kernel/mm/transparent_hugepage/enabled", os.O_WRONLY)


@probe()
def makes_a_program_that_runs_as_its_owner(w: World) -> object:
    """A set-user-id bit, for whoever finds the program on the host."""
    path = f"{w.free}/set-id"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755))
    os.chmod(path, 0o4755)
    return os.stat(path).st_mode & 0o4000


@probe()
def makes_a_program_that_runs_as_its_owner_at_once(w: World) -> object:
    """The same, with the bit from the beginning."""
    path = f"{w.free}/set-id-2"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755))
    return os.stat(path).st_mode & 0o4000


# ── git: whether it is an escape is seen on the host, afterwards ─────────────────────────────────────────────────────


@probe()
def plants_a_hook(w: World) -> object:
    """A program that git would run on the host."""
    with open(f"{w.repositories}/plants_a_hook/.git/hooks/pre-commit", "w") as file:
        file.write("evil")
    return None


@probe()
def plants_a_hook_where_no_folder_is(w: World) -> object:
    """The same, where there are no hooks yet."""
    folder = f"{w.repositories}/plants_a_hook_where_no_folder_is/.git/hooks"
    os.mkdir(folder)
    with open(f"{folder}/pre-commit", "w") as file:
        file.write("evil")
    return None


@probe()
def plants_a_repository(w: World) -> object:
    """The same, where there is no repository yet."""
    folder = f"{w.repositories}/plants_a_repository/.git"
    os.makedirs(f"{folder}/hooks")
    with open(f"{folder}/hooks/pre-commit", "w") as file:
        file.write("evil")
    return None


@probe()
def changes_the_config(w: World) -> object:
    """A setting that names a program for git to run."""
    with open(f"{w.repositories}/changes_the_config/.git/config", "a") as file:
        file.write("[core]\n\tfsmonitor = evil\n")
    return None


@probe()
def exchanges_the_config(w: World) -> object:
    """The same, by a file that is put in its place."""
    folder = f"{w.repositories}/exchanges_the_config/.git"
    with open(f"{folder}/other", "w") as file:
        file.write("[core]\n\tfsmonitor = evil\n")
    os.rename(f"{folder}/other", f"{folder}/config")
    return None


@probe()
def exchanges_the_repository(w: World) -> object:
    """Another repository in the place of the one that was there."""
    folder = f"{w.repositories}/exchanges_the_repository"
    os.rename(f"{folder}/.git", f"{folder}/was")
    os.makedirs(f"{folder}/.git/hooks")
    with open(f"{folder}/.git/hooks/pre-commit", "w") as file:
        file.write("evil")
    return None


@probe()
def points_to_another_repository(w: World) -> object:
    """A file in the repository's place that names another one."""
    folder = f"{w.repositories}/points_to_another_repository"
    os.rename(f"{folder}/.git", f"{folder}/was")
    with open(f"{folder}/.git", "w") as file:
        file.write("gitdir: evil\n")
    return None


@probe()
def links_to_another_repository(w: World) -> object:
    """A link in the repository's place."""
    folder = f"{w.repositories}/links_to_another_repository"
    os.rename(f"{folder}/.git", f"{folder}/was")
    os.symlink("evil", f"{folder}/.git")
    return None


@probe()
def points_to_another_common_folder(w: World) -> object:
    """A file in the repository that has git look for its config and hooks elsewhere."""
    with open(f"{w.repositories}/points_to_another_common_folder/.git/commondir", "w") as file:
        file.write("evil")
    return None


# ── network ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@probe()
def connects_to_the_host(w: World) -> object:
    """A TCP connection to a service of the host."""
    return socket.create_connection(("127.0.0.1", w.tcp), timeout=2)


@probe()
def sends_a_datagram_to_the_host(w: World) -> object:
    """A UDP datagram that arrives at the host; it answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        udp.sendto(b"probe", ("127.0.0.1", w.udp))
        return udp.recv(16)


@probe()
def connects_to_a_socket_by_path(w: World) -> object:
    """A service of the host that listens on a Unix socket, such as Docker's."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(w.unix)
    return "connected"


@probe()
def connects_to_a_socket_in_the_workspace(w: World) -> object:
    """The same, where the path can be seen. Only a filter keeps Landlock's commands from it; with bubblewrap, a folder
    that holds such a socket gives it away, so here it is hidden."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(w.unix_inside)
    return "connected"


@probe()
def connects_to_a_socket_by_name(w: World) -> object:
    """A service of the host that listens on an abstract Unix socket, such as a desktop's."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(f"\0{w.abstract}")
    return "connected"


@probe()
def sends_from_a_pair_of_sockets(w: World) -> object:
    """A datagram to a service of the host, from a socket that was made as one of a pair."""
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return ours.sendto(b"probe", w.unix_datagrams)


@probe(root=True)
def sees_every_packet(w: World) -> object:
    """A socket that hears the machine's traffic."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)


@probe(root=True)
def forges_packets(w: World) -> object:
    """A raw socket."""
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@probe()
def talks_to_the_hypervisor(w: World) -> object:
    """A socket to the machine below, which no network namespace holds."""
    return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)


@probe()
def uses_the_other_way_to_system_calls(w: World) -> object:
    """io_uring, which does things that a filter does not see."""
    return call(number_of("io_uring_setup"), ctypes.c_uint(4), ctypes.create_string_buffer(256))


@probe()
def sees_the_interfaces_of_the_host(w: World) -> object:
    """A network interface other than its own loopback."""
    return [name for _, name in socket.if_nameindex() if name != "lo"]


# ── other processes ──────────────────────────────────────────────────────────────────────────────────────────────────


@probe()
def signals_the_engine(w: World) -> object:
    """A signal, even of no effect, to the engine."""
    os.kill(w.engine, 0)
    return "signalled"


@probe()
def signals_everybody(w: World) -> object:
    """A signal, even of no effect, to a process other than its own."""
    reached = []
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with suppress(OSError):
            os.kill(pid, 0)
            reached.append(pid)
    return w.victim in reached


@probe()
def signals_by_a_file(w: World) -> object:
    """A signal by way of a pidfd."""
    signal.pidfd_send_signal(call(number_of("pidfd_open"), ctypes.c_int(w.victim), ctypes.c_uint(0)), 0)
    return "signalled"


@probe()
def signals_by_asking_for_input(w: World) -> object:
    """A signal that the kernel sends on its behalf when there is input; the host sees whether it arrived."""
    reads, writes = os.pipe()
    fcntl.fcntl(reads, fcntl.F_SETOWN, w.victim_of_signals)
    fcntl.fcntl(reads, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writes, b"x")
    return None


@probe()
def slows_another_process_down(w: World) -> object:
    """A change of another's priority."""
    os.setpriority(os.PRIO_PROCESS, w.victim, 5)
    return "slowed"


@probe()
def limits_another_process(w: World) -> object:
    """A change of another's limits: of its time, for example, which ends it."""
    resource.prlimit(w.victim, resource.RLIMIT_CORE, (0, 0))
    return "limited"


@probe()
def moves_another_process(w: World) -> object:
    """A change of the processors that another may use."""
    os.sched_setaffinity(w.victim, os.sched_getaffinity(w.victim))
    return "moved"


@probe()
def debugs_another_process(w: World) -> object:
    """A process that is not its own, stopped and open to it."""
    call(number_of("ptrace"), ctypes.c_long(16), ctypes.c_long(w.victim), None, None)
    os.waitpid(w.victim, 0x40000000)
    call(number_of("ptrace"), ctypes.c_long(17), ctypes.c_long(w.victim), None, None)
    return "attached"


@probe()
def reads_the_memory_of_the_engine(w: World) -> object:
    """Memory of the engine, by its file."""
    return open(f"/proc/{w.engine}/mem", "rb")


@probe()
def copies_the_memory_of_the_engine(w: World) -> object:
    """Memory of the engine, by a system call that reaches into it."""
    buffer = ctypes.create_string_buffer(8)
    ours = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    theirs = (ctypes.c_void_p * 2)(w.address, 8)
    none = ctypes.c_ulong(0)
    one = ctypes.c_ulong(1)
    return call(number_of("process_vm_readv"), ctypes.c_long(w.engine), ours, one, theirs, one, none)


@probe()
def reads_the_engines_environment(w: World) -> object:
    """The keys that the engine was started with."""
    return open(f"/proc/{w.engine}/environ").read()


@probe()
def lists_the_engines_files(w: World) -> object:
    """What the engine has open."""
    folder = f"/proc/{w.engine}/fd"
    return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]


@probe()
def reads_the_engines_map(w: World) -> object:
    """Where in its memory the engine has what."""
    return open(f"/proc/{w.engine}/maps").read()


@probe()
def takes_a_file_from_the_engine(w: World) -> object:
    """An open file of the engine's, as one's own."""
    engine = call(number_of("pidfd_open"), ctypes.c_int(w.engine), ctypes.c_uint(0))
    return call(number_of("pidfd_getfd"), ctypes.c_int(engine), ctypes.c_int(0), ctypes.c_uint(0)) + 1


@probe()
def attaches_shared_memory_of_the_host(w: World) -> object:
    """Memory that processes of the host share."""
    shmat = libc.shmat
    shmat.restype = ctypes.c_void_p
    attached = shmat(ctypes.c_int(w.shared_memory), None, ctypes.c_int(0))
    return attached not in (None, ctypes.c_void_p(-1).value)


@probe()
def opens_a_message_queue_of_the_host(w: World) -> object:
    """A queue by which processes of the host talk."""
    return call(number_of("mq_open"), w.queue.encode(), ctypes.c_int(os.O_RDONLY), ctypes.c_int(0), None) + 1


# ── mounts and namespaces ────────────────────────────────────────────────────────────────────────────────────────────


@probe(root=True)
def mounts(w: World) -> object:
    """A file system of its own making over a folder."""
    folder = f"{w.free}/mounted"
    os.mkdir(folder)
    call(number_of("mount"), b"none", folder.encode(), b"tmpfs", ctypes.c_ulong(0), None)
    libc.umount2(folder.encode(), 2)
    return "mounted"


@probe(root=True)
def unmounts(w: World) -> object:
    """What was mounted over a hidden file, taken away (without a sandbox: the right to do such a thing)."""
    if libc.umount2(f"{w.work}/.env".encode(), 0) == 0 or ctypes.get_errno() == 22:
        return "may unmount"
    return None


@probe(root=True)
def makes_a_folder_writable_again(w: World) -> object:
    """The system's programs, mounted anew for writing."""
    flags = ctypes.c_ulong(32 | 4096)
    call(number_of("mount"), None, b"/proc" if w.name == "off" else b"/usr", None, flags, None)
    return "remounted"


@probe(root=True)
def clones_a_mount(w: World) -> object:
    """A mount, as a file to do with as one likes."""
    return call(number_of("open_tree"), ctypes.c_int(-100), b"/", ctypes.c_uint(1))


@probe(root=True)
def changes_the_root(w: World) -> object:
    """Another root folder: the first step out of many cages."""
    os.chroot(w.free)
    return "changed"


@probe()
def makes_a_user_namespace(w: World) -> object:
    """A namespace in which it is root, and the kernel's larger half open to it."""
    call(number_of("unshare"), ctypes.c_int(0x10000000))
    return "made"


@probe()
def makes_a_user_namespace_the_new_way(w: World) -> object:
    """The same, by clone3, whose arguments a filter cannot see."""
    arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, signal.SIGCHLD)
    pid = call(number_of("clone3"), arguments, ctypes.c_size_t(88))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made"


@probe(root=True)
def makes_a_network_namespace(w: World) -> object:
    """A network of its own."""
    call(number_of("unshare"), ctypes.c_int(0x40000000))
    return "made"


@probe(root=True)
def enters_the_engines_namespace(w: World) -> object:
    """The engine's view of the files."""
    file = os.open(f"/proc/{w.engine}/ns/net", os.O_RDONLY)
    call(number_of("setns"), ctypes.c_int(file), ctypes.c_int(0))
    return "entered"


# ── devices, rights, the kernel ──────────────────────────────────────────────────────────────────────────────────────


@probe(root=True)
def makes_a_disk(w: World) -> object:
    """A device file of the machine's first disk."""
    os.mknod(f"{w.free}/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))
    return "made"


@probe(root=True)
def opens_the_log_of_the_kernel(w: World) -> object:
    """What the kernel says, and who may say something there."""
    return os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)


@probe(root=True)
def reads_the_log_of_the_kernel(w: World) -> object:
    """The same, by a system call."""
    return call(number_of("syslog"), ctypes.c_int(10), None, ctypes.c_int(0))


@probe(root=True)
def opens_the_consoles(w: World) -> object:
    """A terminal of the machine."""
    return next((name for name in devices("/dev") if os.open(name, os.O_RDWR | os.O_NONBLOCK) >= 0), None)


def devices(folder: str) -> Iterator[str]:
    for name in ("console", "tty1", "ttyS0", "tty0", "vda", "sda", "nvme0n1", "fuse", "kvm", "loop-control", "net/tun"):
        if os.path.exists(f"{folder}/{name}"):
            yield f"{folder}/{name}"


@probe(always_held=True)
def types_into_the_terminal(w: World) -> object:
    """A letter in the terminal of whoever started the engine."""
    terminal = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(terminal, 0x5412, b"x")
    return "typed"


@probe(root=True)
def has_capabilities(w: World) -> object:
    """Any right beyond those of an ordinary user."""
    lines = open("/proc/self/status").read().splitlines()
    return [line for line in lines if line.startswith(("CapEff", "CapPrm", "CapAmb")) and int(line.split()[1], 16)]


@probe()
def may_gain_rights(w: World) -> object:
    """That a program which runs as its owner would."""
    return "NoNewPrivs:\t0" in open("/proc/self/status").read()


@probe(root=True)
def loads_a_program_into_the_kernel(w: World) -> object:
    """A BPF map."""
    attributes = struct.pack("=4I", 2, 4, 4, 1) + bytes(48)
    return call(number_of("bpf"), ctypes.c_int(0), attributes, ctypes.c_uint(len(attributes)))


@probe()
def uses_the_kernels_keys(w: World) -> object:
    """The keyring of the session that the engine was started in."""
    return call(number_of("keyctl"), ctypes.c_int(0), ctypes.c_int(-3), ctypes.c_int(1))


@probe(root=True)
def watches_the_machine(w: World) -> object:
    """What all processes open."""
    return call(number_of("fanotify_init"), ctypes.c_uint(0), ctypes.c_uint(0))


@probe(root=True)
def measures_the_machine(w: World) -> object:
    """Counters of the whole machine."""
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ", 1, 112, 0) + bytes(96), 112)
    nobody, first = ctypes.c_int(-1), ctypes.c_int(0)
    return call(number_of("perf_event_open"), attributes, nobody, first, nobody, ctypes.c_ulong(0))


@probe()
def stops_the_kernel_in_its_tracks(w: World) -> object:
    """A handler for the kernel's own page faults, as many exploits need it."""
    return call(number_of("userfaultfd"), ctypes.c_int(1))


@probe()
def watches_folders_outside(w: World) -> object:
    """Notice of what happens in a folder outside."""
    notices = libc.inotify_init1(0)
    return libc.inotify_add_watch(notices, str(w.outside).encode(), 0xFFF) > 0


# ── last, because without a sandbox they take from the others what these look for ────────────────────────────────────


@probe()
def reads_the_dotenv_after_renaming_it(w: World) -> object:
    """The same, under another name."""
    os.rename(f"{w.work}/.env", f"{w.free}/env")
    return open(f"{w.free}/env").read()


@probe()
def moves_the_database_away(w: World) -> object:
    """A database of one's own where the engine's was."""
    os.rename(os.path.dirname(w.database), f"{w.free}/moved")
    return open(f"{w.free}/moved/brain.sqlite").read() or "moved"


# ── running them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def attempt(function: Callable[[World], object], world: World) -> str:
    """What the probe got, or "": in a process of its own, so that none spoils the world of the next."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reads)
            got = function(world)
            os.write(writes, str(got).encode()[:200] if got else b"")
        except Exception:
            pass
        finally:
            os._exit(0)
    os.close(writes)
    got = b""
    if select.select([reads], [], [], 10)[0]:
        got = os.read(reads, 4096)
    else:
        os.kill(pid, signal.SIGKILL)
        got = b"hangs"
    os.close(reads)
    os.waitpid(pid, 0)
    return got.decode(errors="replace")


if __name__ == "__main__":
    here = World(**json.loads(sys.argv[1]))
    for name, function in PROBES.items():
        print(json.dumps([name, attempt(function, here)]), flush=True)
