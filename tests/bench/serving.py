"""A service of the benchmark's own, as an operator starts it: default settings, a new data directory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from executor.settings import Settings
from tests.acceptance.service import RealService
from tests.bench.figures import Figures

OCI = "oci with "
"""How `/ready` begins its account of the engine where containers are not made by Docker."""


@contextmanager
def serving(figures: Figures, engine: str, **settings: str) -> Iterator[tuple[RealService, float]]:
    """A service, and the seconds that it took to be ready; the figures learn what `engine` came to."""
    pool_max = str(Settings.model_fields["pool_max"].default)  # tests' services have none
    given = {"EXECUTOR_ENGINE": engine, "EXECUTOR_POOL_MAX": pool_max, **settings}
    with tempfile.TemporaryDirectory(prefix="executor-bench-") as folder:
        service = RealService(Path(folder) / "data", **given)
        service.folder.mkdir()
        began = time.perf_counter()
        service.start()
        start_s = time.perf_counter() - began
        try:
            figures.host[f"engine {engine}"] = about(service)
            yield service, start_s
        finally:
            service.close()


def about(service: RealService) -> str:
    """What makes the containers, in the service's own words."""
    checks = service.http.get("/ready").json()["checks"]
    found: str = next(check["detail"] for check in checks if check["name"] == "engine")
    return found


def is_oci(figures: Figures, engine: str) -> bool:
    """Whether a service with this engine makes containers itself, by crun or runc."""
    return figures.host[f"engine {engine}"].startswith(OCI)
