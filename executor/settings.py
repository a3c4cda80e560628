"""The service's settings: `EXECUTOR_*` environment variables, or a TOML file.

`EXECUTOR_CONFIG` names the file (default `executor.toml` in the current directory, if there);
the environment wins. Names and defaults are those of docs/operating.md, which a test compares.
"""

from __future__ import annotations

import os
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from executor.errors import ConfigurationError
from executor.reach import EgressLimits, Reach, parse_all

MIB = 1024 * 1024
CONFIG = "executor.toml"


class Bound(BaseModel):
    """A limit's default and the most a caller may ask for."""

    model_config = ConfigDict(extra="forbid")

    default: PositiveFloat
    maximum: PositiveFloat


class WholeBound(Bound):
    """As `Bound`, for what is counted in whole numbers."""

    default: PositiveInt
    maximum: PositiveInt


class LimitBounds(BaseModel):
    """Defaults and maxima of a job's `limits` (docs/openflow.md section 6.1)."""

    model_config = ConfigDict(extra="forbid")

    timeout_s: Bound = Bound(default=300, maximum=3600)
    memory_mb: WholeBound = WholeBound(default=256, maximum=2048)
    cpus: Bound = Bound(default=1, maximum=float(os.cpu_count() or 1))
    pids: WholeBound = WholeBound(default=128, maximum=512)
    tmp_mb: WholeBound = WholeBound(default=64, maximum=1024)
    log_bytes: WholeBound = WholeBound(default=MIB, maximum=16 * MIB)
    result_bytes: WholeBound = WholeBound(default=8 * MIB, maximum=64 * MIB)


class Settings(BaseSettings):
    """Everything an operator can set; `load()` reads it."""

    model_config = SettingsConfigDict(
        env_prefix="EXECUTOR_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,  # a maximum may be set without its default
        extra="ignore",
    )

    host: str = Field("127.0.0.1", description="address the HTTP service listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the HTTP service listens on")
    base_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+[^\s?#]*$",
        description="how clients reach the service, as in links to approve; default: `http://HOST:PORT`",
    )
    data_dir: Path = Field(Path("data"), description="database, generated token, containers' directories")
    database_url: str | None = Field(
        None,
        description="`sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME` (13 or newer); default: SQLite in the data directory",
    )
    token: str | None = Field(None, description="admin token; generated into the data directory if unset")
    engine: Literal["auto", "docker", "oci"] = Field(
        "auto",
        description="what makes the containers of our own images: `oci` calls crun or runc directly, `docker` the "
        "Docker engine, `auto` takes oci where it works; other images always run on docker",
    )
    user_namespaces: bool = Field(
        True,
        description="give containers of the oci engine that join no network user namespaces of their own, where that works",
    )
    concurrency: PositiveInt = Field(
        max(4, 2 * (os.cpu_count() or 1)), description="containers that may run at once"
    )
    pool_max: int = Field(
        128, ge=0, le=1000, description="containers that may wait for a job, booted; 0: none ever does"
    )
    pool_memory_share: float = Field(
        0.25, ge=0, le=0.9, description="share of the host's memory that waiting containers may take"
    )
    queue_max: PositiveInt = Field(
        10_000, description="jobs of one workspace that may wait; a further one gets 429"
    )
    request_mb: PositiveInt = Field(64, description="largest request body, in MiB")
    header_kb: int = Field(
        32, ge=4, le=256, description="largest request head, in KiB: path, query and headers; more get 431"
    )
    read_s: float = Field(
        30,
        ge=0.1,
        le=600,
        description="how long a request's head or body may take to come, in seconds; each 16 KiB that came give a "
        "body one second more. Answers must be read as fast",
    )
    connections_max: PositiveInt = Field(
        4000,
        description="connections of clients at once, at most half of `ulimit -n`; a further one gets 503",
    )
    requests_per_s: PositiveFloat = Field(
        1000, description="requests of one user a second, and at once, with whatever tokens; more get 429"
    )
    requests_open: PositiveInt = Field(
        2000, description="requests of one user that may wait for their answers at once; more get 429"
    )
    wrong_tokens_per_s: PositiveFloat = Field(
        25,
        description="requests a second from one address without a right token or signature, and four seconds' "
        "worth at once; more get 429",
    )
    proxies: str | None = Field(
        None,
        description="addresses and ranges of proxies in front whose `X-Forwarded-For` says who calls: "
        "`127.0.0.1 10.0.0.0/8`; default: nobody's",
    )
    wait_s: PositiveFloat = Field(600, description="longest a run_wait_result request waits, in seconds")
    cancel_grace_s: PositiveFloat = Field(
        5, description="from a cancellation's signal to the kill, in seconds"
    )
    drain_s: PositiveFloat = Field(30, description="how long a stopping service lets running jobs go on")
    engine_wait_s: float = Field(
        600,
        ge=0,
        description="how long jobs that cannot begin because no container engine answers wait for it; then they fail",
    )
    programs_mb: PositiveInt = Field(
        1024, description="compiled programs kept, in MiB; the least recently used go first"
    )
    flow_depth_max: int = Field(50, ge=1, le=60, description="levels of modules inside modules in a flow")
    flow_modules_max: PositiveInt = Field(5000, description="modules in a flow's document")
    flow_iterations_max: PositiveInt = Field(100_000, description="iterations of one loop of a flow")
    flow_jobs_max: PositiveInt = Field(
        250_000,
        description="jobs of one flow run, those of its loops, branches and inner flows counted; the runs that are "
        "walked at once may have four times as many together",
    )
    flow_mb: int = Field(
        1024,
        ge=1,
        description="arguments that the steps of one flow run may have in memory at once, in MiB; the runs that are "
        "walked at once may have twice as much together",
    )
    shared_mb: int = Field(
        512, ge=16, le=1024 * 1024, description="size of a run's shared directory, in MiB, at least 16"
    )
    shared_files: int = Field(
        100_000,
        ge=1,
        description="files and directories in a shared directory; at most 256 for each of its MiB",
    )
    shared_total_mb: PositiveInt = Field(
        8192,
        description="what the shared directories of a workspace's unfinished runs may hold together, in MiB, before "
        "another run gets none",
    )
    images: str = Field(
        "*", description="images that scripts may name: patterns and digests, separated by commas; see below"
    )
    pull: Literal["missing", "always", "never"] = Field(
        "missing", description="when the image that a script names is pulled"
    )
    registry_config: FilePath | None = Field(
        None, description="Docker config file with registries' credentials; default: the service user's own"
    )
    base_image: str = Field("debian:bookworm-slim", description="image the language images start from")
    networks: str | None = Field(
        None,
        description="what jobs with egress may reach where the workspace's policy says nothing of `networks`: "
        "`10.0.0.0/8:5432,3306 192.168.1.5`; default: nothing",
    )
    egress_connections: int = Field(
        EgressLimits.connections,
        ge=1,
        le=65535,
        description="connections that the jobs of one workspace may have open at once; a policy's `egress` can lower it",
    )
    egress_connections_per_s: int = Field(
        EgressLimits.connections_per_s,
        ge=1,
        le=1_000_000,
        description="new connections of one workspace in a second; as many may come at once",
    )
    egress_lookups_per_s: int = Field(
        EgressLimits.lookups_per_s,
        ge=1,
        le=1_000_000,
        description="questions of one workspace to resolvers in a second; as many may come at once",
    )
    dns: str | None = Field(
        None,
        description="addresses of the resolvers that jobs with egress may ask; default: the host's own",
    )
    network_ipv6: bool = Field(
        False, description="give jobs with egress IPv6 too; needs an engine that masquerades it"
    )
    network_shared: bool = Field(
        False,
        description="on the docker engine jobs without network share their workspace's loopback, which nearly halves "
        "what a container costs; see below",
    )
    runtimes: str | None = Field(
        None, description="folders that hold languages, separated by `:`; default: the bundled ones"
    )
    limits: LimitBounds = Field(LimitBounds(), description="defaults and maxima of a job's limits")
    audit_days: int = Field(90, ge=1, le=3650, description="how long it is kept who changed what")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least log level shown"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; there is no .env and no secrets directory."""
        path = Path(os.environ.get("EXECUTOR_CONFIG", CONFIG))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    @field_validator("networks")
    @classmethod
    def _are_ranges(cls, networks: str | None) -> str | None:
        parse_all(networks or "")
        return networks

    @field_validator("dns")
    @classmethod
    def _are_addresses(cls, dns: str | None) -> str | None:
        for address in (dns or "").split():
            ip_address(address)
        return dns

    @field_validator("proxies")
    @classmethod
    def _are_networks(cls, proxies: str | None) -> str | None:
        for network in (proxies or "").split():
            ip_network(network)
        return proxies

    @property
    def reach(self) -> tuple[Reach, ...]:
        """What `networks` opens."""
        return parse_all(self.networks or "")

    @property
    def egress_limits(self) -> EgressLimits:
        """How much the jobs of one workspace may ask of the network, unless its policy says less."""
        return EgressLimits(self.egress_connections, self.egress_connections_per_s, self.egress_lookups_per_s)

    @property
    def resolvers(self) -> tuple[str, ...] | None:
        """The addresses in `dns`; None for the host's own."""
        return None if self.dns is None else tuple(self.dns.split())

    def resolved_base_url(self) -> str:
        """How clients reach the service: a URL without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.base_url or f"http://{host}:{self.port}").rstrip("/")

    def resolved_database_url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'executor.db'}"


def load(**overrides: Any) -> Settings:
    """Read the settings; raise ConfigurationError naming each wrong one."""
    config = os.environ.get("EXECUTOR_CONFIG")
    if config is not None and not Path(config).is_file():
        raise ConfigurationError(f"EXECUTOR_CONFIG names {config!r}, which is not a file")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = map(_complaint, error.errors())
        raise ConfigurationError("wrong settings:\n  " + "\n  ".join(lines)) from error
    except SettingsError as error:  # a variable that should hold JSON does not
        raise ConfigurationError(f"wrong settings, EXECUTOR_LIMITS: {error}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{config or CONFIG}: {error}") from error


def _complaint(error: Any) -> str:
    """One wrong setting, by its variable's name; a wrong token is not repeated."""
    name = "__".join(str(part) for part in error["loc"]).upper()
    got = "" if name == "TOKEN" else f" (got {error['input']!r})"
    return f"EXECUTOR_{name}: {error['msg']}{got}"
