"""Settings: environment over file over default, and every wrong one named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executor.errors import ConfigurationError
from executor.reach import Reach
from executor.settings import load


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's own."""
    for name in os.environ:
        if name.startswith("EXECUTOR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def wrong() -> str:
    with pytest.raises(ConfigurationError) as caught:
        load()
    return str(caught.value)


def test_defaults_are_those_of_the_design() -> None:
    """Only this machine can reach a service that nobody configured."""
    settings = load()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8000, Path("data"))
    assert (settings.token, settings.database_url, settings.engine) == (None, None, "auto")
    assert (settings.queue_max, settings.request_mb, settings.wait_s) == (10_000, 64, 600)
    assert settings.concurrency >= 4


def test_the_environment_sets_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """`EXECUTOR_` and the name in capitals; parts of a limit are joined by two underscores."""
    monkeypatch.setenv("EXECUTOR_PORT", "9000")
    monkeypatch.setenv("EXECUTOR_DATA_DIR", "/somewhere")
    monkeypatch.setenv("EXECUTOR_LIMITS__MEMORY_MB__MAXIMUM", "512")
    settings = load()
    assert (settings.port, settings.data_dir) == (9000, Path("/somewhere"))
    assert (settings.limits.memory_mb.maximum, settings.limits.memory_mb.default) == (512, 256)
    assert settings.limits.pids.maximum == 512, "the others stay"


def test_ranges_and_resolvers_are_read_as_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is open by default, and the host's resolvers are asked."""
    assert (load().reach, load().resolvers) == ((), None)
    monkeypatch.setenv("EXECUTOR_NETWORKS", "10.0.0.0/8:5432 192.168.1.5")
    monkeypatch.setenv("EXECUTOR_DNS", "10.0.0.53 fd00::53")
    assert load().reach == (Reach("10.0.0.0/8", (5432,)), Reach("192.168.1.5"))
    assert load().resolvers == ("10.0.0.53", "fd00::53")
    monkeypatch.setenv("EXECUTOR_DNS", "")
    assert load().resolvers == (), "none at all"


@pytest.mark.parametrize(
    ("name", "value"), [("NETWORKS", "db.example:5432"), ("NETWORKS", "10.0.0.1/8"), ("DNS", "resolver")]
)
def test_a_wrong_range_or_resolver_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"EXECUTOR_{name}", value)
    message = wrong()
    assert f"EXECUTOR_{name}" in message
    assert value in message


def test_a_file_sets_each_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`executor.toml` in the current directory is read without being named."""
    (tmp_path / "executor.toml").write_text("port = 1\nhost = 'a'\n[limits.pids]\ndefault = 7\n")
    monkeypatch.setenv("EXECUTOR_PORT", "2")
    settings = load()
    assert (settings.port, settings.host, settings.limits.pids.default) == (2, "a", 7)


def test_a_named_file_is_read_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`EXECUTOR_CONFIG` wins over the current directory."""
    (tmp_path / "executor.toml").write_text("port = 1\n")
    (tmp_path / "other.toml").write_text("port = 3\n")
    monkeypatch.setenv("EXECUTOR_CONFIG", str(tmp_path / "other.toml"))
    assert load().port == 3


@pytest.mark.parametrize("name", ["missing.toml", "", "."])
def test_a_named_file_that_is_none_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt path must not mean the defaults."""
    monkeypatch.setenv("EXECUTOR_CONFIG", name)
    assert wrong().startswith("EXECUTOR_CONFIG names")


@pytest.mark.parametrize("content", [b"port = ", b"port = 1\nport = 2", b"host = '\xff'"])
def test_a_file_that_is_no_toml_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    """The message names the file, as an operator has to mend it."""
    (tmp_path / "executor.toml").write_bytes(content)
    assert "executor.toml" in wrong()


WRONG = [
    ("PORT", "x"),
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", ""),
    ("CONCURRENCY", "0"),
    ("CONCURRENCY", "1.5"),
    ("QUEUE_MAX", "-1"),
    ("REQUEST_MB", "0"),
    ("HEADER_KB", "1"),
    ("READ_S", "0"),
    ("CONNECTIONS_MAX", "0"),
    ("REQUESTS_PER_S", "0"),
    ("REQUESTS_OPEN", "0"),
    ("WRONG_TOKENS_PER_S", "-1"),
    ("PROXIES", "proxy.example.com"),
    ("PROXIES", "10.0.0.1/8"),
    ("WAIT_S", "0"),
    ("WAIT_S", "soon"),
    ("SHARED_MB", "15"),
    ("SHARED_MB", "many"),
    ("SHARED_FILES", "0"),
    ("CANCEL_GRACE_S", "-1"),
    ("DRAIN_S", "0"),
    ("FLOW_DEPTH_MAX", "0"),
    ("FLOW_DEPTH_MAX", "61"),
    ("FLOW_MODULES_MAX", "0"),
    ("FLOW_ITERATIONS_MAX", "many"),
    ("ENGINE", "podman"),
    ("LOG_LEVEL", "loud"),
    ("LIMITS__TIMEOUT_S__MAXIMUM", "0"),
    ("LIMITS__PIDS__DEFAULT", "0.5"),
    ("LIMITS__DISK__DEFAULT", "1"),
    ("LIMITS__PIDS__LEAST", "1"),
    ("LIMITS", "not json"),
    ("LIMITS", "[]"),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value}" for name, value in WRONG])
def test_a_wrong_setting_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name under which it was set; an unknown part by where it begins."""
    monkeypatch.setenv(f"EXECUTOR_{name}", value)
    known = name.replace("DISK__DEFAULT", "DISK")
    assert f"EXECUTOR_{known}" in wrong()


def test_every_wrong_setting_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment and from the file, each with its value."""
    (tmp_path / "executor.toml").write_text("port = 'x'\n")
    monkeypatch.setenv("EXECUTOR_WAIT_S", "soon")
    message = wrong()
    assert "EXECUTOR_PORT" in message
    assert "EXECUTOR_WAIT_S" in message
    assert "'soon'" in message


def test_a_token_is_never_repeated(tmp_path: Path) -> None:
    """Not even when it is wrong: messages end up in logs."""
    (tmp_path / "executor.toml").write_text("token = 123456789\n")
    assert "123456789" not in wrong()


def test_others_settings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command and the demo have variables of their own."""
    monkeypatch.setenv("EXECUTOR_SOMETHING_ELSE", "x")
    load()


def test_the_database_is_in_the_data_directory_unless_said_otherwise(tmp_path: Path) -> None:
    """As an absolute path: a change of directory must not open another database."""
    assert load(data_dir="d").resolved_database_url() == f"sqlite:///{tmp_path.resolve()}/d/executor.db"
    assert load(database_url="sqlite:////x").resolved_database_url() == "sqlite:////x"


def test_clients_reach_the_service_by_its_address_or_as_it_is_said() -> None:
    """Without a slash at the end; a prefix stays."""
    assert load().resolved_base_url() == "http://127.0.0.1:8000"
    assert load(host="::1", port=9).resolved_base_url() == "http://[::1]:9"
    assert load(base_url="https://a.example/b/").resolved_base_url() == "https://a.example/b"


@pytest.mark.parametrize(
    "url", ["a.example", "ftp://a.example", "https://", "https://a?b", "https://a/#b", ""]
)
def test_a_base_url_that_links_cannot_begin_with_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Rather at the start than in a mail."""
    monkeypatch.setenv("EXECUTOR_BASE_URL", url)
    assert "EXECUTOR_BASE_URL" in wrong()
