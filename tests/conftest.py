"""What every test shares: asyncio only, and no way to a real model by accident."""

from __future__ import annotations

import gc
import os
import ssl
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from september_engine import settings as settings_module
from september_engine.settings import setting_fields
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench
from tests.programs import ROOT

DEVELOPERS = ROOT / ".env"

# how fast a machine is decides no test
settings.register_profile("project", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("campaign", parent=settings.get_profile("project"), max_examples=500)
settings.load_profile("project")

# programs that tests start keep what they compiled, or each start compiles the library again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == "campaign":
        settings.load_profile("campaign")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A campaign tries every property once more, with many more examples."""
    if config.option.markexpr == "campaign":
        for item in items:
            if isinstance(item, pytest.Function) and is_hypothesis_test(item.obj):
                item.add_marker("campaign")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What stands for the whole run is no work for the garbage collector: thousands of tests, and what they import."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test needs a certificate, and each client of HTTP would take 20 ms to read those of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        if found := ssl.create_default_context().get_ca_certs(binary_form=True):
            file = tmp_path_factory.mktemp("certificates") / "one.pem"
            file.write_text(ssl.DER_cert_to_PEM_cert(found[0]))
            patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on a developer's variables or `.env`, nor can it reach a real model by accident."""
    for field in setting_fields():
        monkeypatch.delenv(field.metadata["variable"], raising=False)
    if DEVELOPERS.exists():
        content = settings_module._content
        monkeypatch.setattr(
            settings_module, "_content", lambda path: b"" if path.absolute() == DEVELOPERS else content(path)
        )


@pytest.fixture(params=["memory", "sqlite"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """What an engine stands on, once with each store."""
    return Bench(store=MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "brain.sqlite"))
