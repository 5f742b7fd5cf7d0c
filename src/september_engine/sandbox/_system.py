"""The machine as sandboxes need to know it: what every program reads, and how to get what is missing."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEVICES", "NAMES", "RESOLVER", "SYSTEM_FOLDERS", "namespaces_advice"]

SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")

NAMES = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
)
"""Of /etc: libraries, certificates, and the names of numbers. Nothing that is secret on any machine.

Private keys lie beside the certificates, for root only; who runs us may be root.
"""

RESOLVER = ("/etc/gai.conf", "/etc/host.conf", "/etc/resolv.conf")

DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")

_SWITCHES = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
)


def namespaces_advice(root: Path = Path("/")) -> str:
    """How to allow the namespaces that were refused, as far as one can tell from here."""
    advice = [f"`{command}`" for name, bad, command in _SWITCHES if _read(root / "proc/sys" / name) == bad]
    if advice:
        return f"Allow user namespaces: {', '.join(advice)} (as root)."
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return (
            "In a container, namespaces must be allowed from outside: `--security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --security-opt systempaths=unconfined`, or a profile that allows them."
        )
    return "This system does not let it make namespaces."


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
