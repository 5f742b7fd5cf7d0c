"""auth: who may come in. Asked before anything else of a request is read."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterator

import attrs
from starlette.types import Scope

from ..errors import ConfigurationError, EngineError
from ..settings import Settings

__all__ = ["LOOPBACK", "Door", "InvalidKey", "KeyRotationPending", "PermissionDenied"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The hosts by which a server that only this machine can reach is called."""

_HOST = re.compile(r"(?P<name>\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


class InvalidKey(EngineError):
    """The key is missing, wrong, or there more than once: the same answer for all, so that nothing can be probed."""

    code = "INVALID_KEY"
    status = 401


class KeyRotationPending(EngineError):
    """The key is the next one, and its time has not come."""

    code = "KEY_ROTATION_PENDING"
    status = 401


class PermissionDenied(EngineError):
    """A web page that nobody named tries to use a server that takes requests without a key."""

    code = "PERMISSION_DENIED"
    status = 403


@attrs.frozen(kw_only=True)
class Door:
    """Lets requests in by their key, or, where no key is set, by the host they call.

    Without a key, any web page open on this machine could send requests to a local server. So a request must then
    call one of `keyless_hosts` by name (a page that turned its own name to 127.0.0.1 does not), and an `Origin`, which
    browsers send and pages cannot change, must be that same host or one of the named origins.

    Raises `ConfigurationError` where neither a key nor a host is set: nobody could come in, or everybody.
    """

    settings: Settings
    now: Callable[[], float]
    keyless_hosts: Collection[str] = ()

    def __attrs_post_init__(self) -> None:
        if self.settings.key_hash is None and not self.keyless_hosts:
            raise ConfigurationError(
                "No key is set, so anybody could use this engine. Set ENGINE_API_KEY (or ENGINE_KEY_HASH); or, for a "
                "server that only this machine can reach, name the hosts it is called by: "
                "create_app(engine, keyless_hosts=LOOPBACK)."
            )

    def admit(self, scope: Scope) -> None:
        """Return for a request that may come in. Raises `InvalidKey`, `KeyRotationPending`, `PermissionDenied`."""
        keys = list(_values(scope, b"x-engine-key"))
        if self.settings.key_hash is not None:
            self._check_key(keys[0] if len(keys) == 1 else b"")
        elif len(keys) > 1:
            raise _invalid()
        else:
            self._check_host(scope)

    def _check_key(self, key: bytes) -> None:
        """Every comparison is made every time, on digests of one length: the time taken tells nothing."""
        digest = hashlib.sha256(key).hexdigest()
        ring = self.settings.keys_at(self.now())
        accepted = [hmac.compare_digest(digest, each) for each in ring.accepted]
        pending = [hmac.compare_digest(digest, each) for each in ring.pending]
        if any(accepted):
            return
        if any(pending):
            raise KeyRotationPending("This key is not valid yet. Use the previous one until the rotation is over.")
        raise _invalid()

    def _check_host(self, scope: Scope) -> None:
        hosts = [value.decode("latin-1").lower() for value in _values(scope, b"host")]
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or match["name"] not in self.keyless_hosts:
            raise PermissionDenied("Without a key, this server only answers to the names of its own machine.")
        allowed = {f"{scope['scheme']}://{hosts[0]}", *self.settings.cors_origins}
        if any(origin.decode("latin-1") not in allowed for origin in _values(scope, b"origin")):
            raise PermissionDenied("This origin is not named in SEPTEMBER_CORS_ORIGINS.")


def _values(scope: Scope, name: bytes) -> Iterator[bytes]:
    return (value for each, value in scope["headers"] if each == name)


def _invalid() -> InvalidKey:
    return InvalidKey("Send the engine's key in exactly one X-Engine-Key header.")
