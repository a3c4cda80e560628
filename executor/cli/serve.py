"""`executor serve`, `executor migrate`."""

from __future__ import annotations

from executor import datadir, telemetry
from executor.cli.screen import err, step
from executor.settings import load


def serve() -> None:
    """Serve the HTTP API in the foreground, until SIGTERM or Ctrl-C."""
    from executor.wiring import Service  # here, so that other commands need not load a web framework

    settings = load()
    telemetry.configure(settings.log_level)
    service = Service.of(settings)
    if service.token_is_new:
        err.print(f"admin token, shown this once: {service.token}", markup=False)
    step(f"http://{settings.host}:{settings.port}/docs; the admin token is in {settings.data_dir / 'token'}")
    service.serve()


def migrate_database() -> None:
    """Bring the database's tables up to this version; `serve` does it by itself, too."""
    from executor.storage.database import migrate
    from executor.storage.engines import connect

    settings = load()
    datadir.prepare(settings)
    engine = connect(settings.resolved_database_url(), writes=True)
    migrate(engine)
    engine.dispose()
    step(f"{engine.url.render_as_string(hide_password=True)} is up to date")
