"""What can go wrong, whose fault it is, and which code the contract gives it.

One root, three families:

    EngineError
    ├── the caller's doing, raised before anything is written
    │   ├── InvalidRequest            400  INVALID_REQUEST   (InvalidType: 422)
    │   ├── PayloadTooLarge           413  PAYLOAD_TOO_LARGE
    │   ├── TaskNotFound              404  TASK_NOT_FOUND
    │   ├── MessageNotFound           404  MESSAGE_NOT_FOUND
    │   ├── TaskBusy                  409  TASK_BUSY
    │   ├── HitlRequired              409  HITL_REQUIRED
    │   ├── HitlNotPending            404  HITL_NOT_PENDING
    │   └── HitlAlreadyAnswered       409  HITL_ALREADY_ANSWERED
    ├── the machine's or the operator's doing
    │   ├── ConfigurationError        CONFIGURATION_ERROR (never over HTTP; MissingExtra, BrokenExtra: at imports)
    │   ├── EngineClosed              503  ENGINE_CLOSED     (over HTTP: SHUTTING_DOWN)
    │   │   ├── ShuttingDown          503  SHUTTING_DOWN
    │   │   └── WrongLoop             400  INVALID_REQUEST   (in-process: used from another event loop, or from none)
    │   ├── StoreBusy, StoreFull      503  STORE_BUSY, STORE_FULL
    │   ├── MigrationRequired         503  MIGRATION_REQUIRED
    │   ├── StoreInUse                503  STORE_BUSY        (another engine has the file)
    │   ├── StoreMoved                503  STORE_BUSY        (the file is not where it was, or not what it was)
    │   ├── StoreCorrupt              500  INTERNAL_ERROR
    │   └── Fenced                    409  TASK_BUSY         (another engine took the task over)
    └── inside a turn
        ├── ModelError                     LLM_…, CONTEXT_OVERFLOW
        └── TurnFailed                     the code of the turn's `error` event: one of a model, or
                                           CANCELLED, INTERRUPTED, HITL_EXPIRED, BUDGET_EXCEEDED, INVALID_OUTPUT

Facts are attributes; the text says what happened and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from .messages import JSON

__all__ = [
    "BrokenExtra",
    "ConfigurationError",
    "EngineClosed",
    "EngineError",
    "Fenced",
    "HitlAlreadyAnswered",
    "HitlNotPending",
    "HitlRequired",
    "InvalidRequest",
    "InvalidType",
    "MessageNotFound",
    "MigrationRequired",
    "MissingExtra",
    "ModelError",
    "PayloadTooLarge",
    "ShuttingDown",
    "StoreBusy",
    "StoreCorrupt",
    "StoreFull",
    "StoreInUse",
    "StoreMoved",
    "TaskBusy",
    "TaskNotFound",
    "TurnFailed",
    "WrongLoop",
]


class EngineError(Exception):
    """The root of everything September Engine raises on purpose.

    Attributes:
        code: The contract's code, such as `TASK_BUSY`.
        status: The HTTP status that goes with it.
        message: What happened and what to do, for a person.
        details: Facts for a program; JSON values only, never a secret.
    """

    code: str = "INTERNAL_ERROR"
    status: int = 500

    def __init__(self, message: str, /, **details: JSON) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, JSON] = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        """As it is, not made anew from `args`: so that it can be copied, and raised across processes."""
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[EngineError], args: tuple[object, ...], state: dict[str, object]) -> EngineError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class InvalidRequest(EngineError):
    """The request cannot be understood; nothing was written."""

    code = "INVALID_REQUEST"
    status = 400


class InvalidType(InvalidRequest):
    """A field is there but has the wrong type; nothing was written."""

    status = 422


class NoMemory(InvalidRequest):
    """This engine keeps no long-term memory."""

    status = 404


class PayloadTooLarge(EngineError):
    """The request is larger than this engine takes; nothing was written."""

    code = "PAYLOAD_TOO_LARGE"
    status = 413


class TaskNotFound(EngineError):
    """There is no such task."""

    code = "TASK_NOT_FOUND"
    status = 404


class MessageNotFound(EngineError):
    """This task has no such message. The same answer for an id of another task, so ids cannot be probed."""

    code = "MESSAGE_NOT_FOUND"
    status = 404


class TaskBusy(EngineError):
    """A turn is already running on this task; `details["turn_id"]` names it."""

    code = "TASK_BUSY"
    status = 409


class HitlRequired(EngineError):
    """The task waits for a person; `details["request_id"]` names the oldest open request."""

    code = "HITL_REQUIRED"
    status = 409


class HitlNotPending(EngineError):
    """There is nothing to answer here."""

    code = "HITL_NOT_PENDING"
    status = 404


class HitlAlreadyAnswered(EngineError):
    """Somebody answered first; `details["answer"]` is what was recorded."""

    code = "HITL_ALREADY_ANSWERED"
    status = 409


class ConfigurationError(EngineError):
    """A setting cannot be used. Raised at start-up, before any work is accepted."""

    code = "CONFIGURATION_ERROR"


class _NoImport(ConfigurationError, ImportError):
    def __init__(self, message: str, /, **details: JSON) -> None:
        super().__init__(message, **details)
        self.name = details.get("package")  # as every ImportError has it

    def __str__(self) -> str:
        return self.message


class MissingExtra(_NoImport, ModuleNotFoundError):
    """A package is not installed, `details["package"]`; the text says how to get it. An `ImportError`, too."""


class BrokenExtra(_NoImport):
    """A package is installed but does not load; the text says why. An `ImportError`, too."""


class EngineClosed(EngineError):
    """The engine is not open here: open it first, use it in the event loop it was opened in, or make a new one."""

    code = "ENGINE_CLOSED"
    status = 503


class ShuttingDown(EngineClosed):
    """The engine is shutting down and takes no new work. Send it again when it is back."""

    code = "SHUTTING_DOWN"


class WrongLoop(EngineClosed):
    """The engine cannot be used from here: another event loop than its own runs in this thread, or none at all."""

    code = "INVALID_REQUEST"
    status = 400


class StoreBusy(EngineError):
    """Another program holds the database's write lock for too long. Trying again is safe."""

    code = "STORE_BUSY"
    status = 503


class StoreFull(EngineError):
    """The disk is full. Reading goes on; writing resumes when there is space."""

    code = "STORE_FULL"
    status = 503


class StoreInUse(StoreBusy):
    """Another engine has this file open; `details["pid"]` is its process."""


class StoreMoved(StoreBusy):
    """The database file was moved, deleted or replaced while the engine had it open; `details["path"]` names the file.

    What this is raised for counts as not written. The engine goes on once the very same file is back.
    """


class StoreCorrupt(EngineError):
    """Stored data fails its checksum. It is not shown; the other tasks go on."""


class MigrationRequired(EngineError):
    """The database was written by a newer release; `details` has both schema versions."""

    code = "MIGRATION_REQUIRED"
    status = 503


class Fenced(EngineError):
    """This writer's epoch is over: another one owns the task now. It must stop without another word."""

    code = "TASK_BUSY"
    status = 409


class ModelError(EngineError):
    """A model call failed.

    Raised by models, caught by the engine, which retries, falls back, repairs the history, or ends the turn.

    Attributes:
        retryable: The same request may succeed later.
        retry_after: Seconds the provider asked us to wait, or None.
        bad_history: The provider refused the request itself: the messages, not the moment.
        suspect: What in the messages the provider named, where it did.
    """

    STATUSES: ClassVar[Mapping[str, int]] = {
        "LLM_RATE_LIMITED": 429,
        "LLM_PROVIDER_ERROR": 502,
        "LLM_TIMEOUT": 504,
        "LLM_AUTH": 502,
        "CONTEXT_OVERFLOW": 422,
    }

    def __init__(
        self,
        message: str,
        /,
        *,
        code: str = "LLM_PROVIDER_ERROR",
        retryable: bool = False,
        retry_after: float | None = None,
        bad_history: bool = False,
        suspect: Literal["thinking", "media", "foreign"] | None = None,
        **details: JSON,
    ) -> None:
        if retry_after is not None:
            details["retry_after"] = retry_after
        super().__init__(message, **details)
        self.code = code
        self.status = self.STATUSES.get(code, 502)
        self.retryable = retryable
        self.retry_after = retry_after
        self.bad_history = bad_history
        self.suspect: Literal["thinking", "media", "foreign"] | None = suspect


class TurnFailed(EngineError):
    """A turn ended errored; `code` is that of its `error` event, and `status` goes with it.

    `details["retry_message_id"]` is the person's message: `execute(…, retry_message_id=…)` runs again from it, where
    sending it anew would leave the question in the thread twice.
    """

    STATUSES: ClassVar[Mapping[str, int]] = {
        **ModelError.STATUSES,
        **{kind.code: kind.status for kind in (StoreBusy, StoreFull, EngineClosed, ShuttingDown)},
        "INVALID_OUTPUT": 502,
    }

    def __init__(self, message: str, /, *, code: str, turn_id: str, **details: JSON) -> None:
        super().__init__(message, **details)
        self.code = code
        self.status = self.STATUSES.get(code, 500)
        self.turn_id = turn_id
