"""A language is a folder: what its manifest may say, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.errors import ConfigurationError
from executor.runtimes import NAME, bundled, read, scan

GOOD = {
    "title": '"X"',
    "source": '"main.x"',
    "runner": '["x", "{heap_mb}"]',
    "label": '"x run"',
}


def language(root: Path, name: str = "x", **said: str) -> Path:
    """A language's folder; `said` are TOML values by key, "" leaves the key out."""
    folder = root / name
    folder.mkdir(parents=True)
    lines = [f"{key} = {value}\n" for key, value in {**GOOD, **said}.items() if value]
    (folder / "runtime.toml").write_text("".join(lines))
    return folder


def test_the_bundled_languages_read() -> None:
    """Each has a name, a label as the semantics page has it, and a way to find it."""
    found = scan()
    labels = {runtime.name: runtime.manifest.label for runtime in found}
    known = {"python3": "python run", "deno": "deno run", "bash": "bash run", "go": "go run"}
    assert known.items() <= labels.items()
    for runtime in found:
        assert found.find(runtime.name) is runtime
        for alias in runtime.manifest.aliases:
            assert found.find(alias) is not None
        for extension in runtime.manifest.extensions:
            assert found.for_file(Path(f"a/script{extension}")) is not None
    networked = {runtime.name for runtime in found if runtime.manifest.network != "none"}
    assert networked == {"postgresql", "mysql", "duckdb"}, "only what talks to databases needs a network"


def test_every_folder_with_a_manifest_is_a_language_and_nothing_else_is() -> None:
    """Found by scanning, never listed."""
    folders = {path.parent.name for path in bundled("runtimes").glob("*/runtime.toml")}
    assert set(scan().names()) == folders
    assert all(NAME.fullmatch(folder) for folder in folders)


def test_a_manifest_needs_four_fields(tmp_path: Path) -> None:
    """Title, source, runner, label; the rest has defaults that grant nothing."""
    manifest = read(language(tmp_path)).manifest
    assert (manifest.network, manifest.result, manifest.cancel_signal) == ("none", "channel", "SIGINT")
    assert (manifest.aliases, manifest.out_of_memory, manifest.merge_stderr) == ((), (), False)


WRONG = [
    ("title", ""),
    ("title", "3"),
    ("source", ""),
    ("source", '"../main.x"'),
    ("source", '"a/b"'),
    ("source", '".hidden"'),
    ("source", '""'),
    ("source", '"main.x\\n"'),
    ("runner", ""),
    ("runner", "[]"),
    ("runner", '"x"'),
    ("runner", "[1]"),
    ("label", ""),
    ("aliases", '"python"'),
    ("extensions", "[1]"),
    ("cancel_signal", '"SIGKILL"'),
    ("result", '"stderr"'),
    ("merge_stderr", '"maybe"'),
    ("network", '"host"'),
    ("out_of_memory", '["("]'),
    ("resources", '["("]'),
    ("resources", '["a"]'),
    ("resources", '["(a)(b)"]'),
    ("limits.minimum.memory_mb", "0"),
    ("limits.minimum.memory_mb", "1.5"),
    ("limits.minimum.pids", "-1"),
    ("limits.minimum.disk_mb", "1"),
    ("limits.maximum", "{}"),
    ("conformance.skip", "[]"),
    ("tittle", '"X"'),
    ("compile", "true"),
    ("compile", "{}"),
    ("compile", '{ runner = [], label = "x build" }'),
    ("compile", '{ runner = ["make"] }'),
    ("compile", '{ runner = ["make"], label = "x build", limits = { timeout_s = 0 } }'),
    ("compile", '{ runner = ["make"], label = "x build", limits = { disk_mb = 1 } }'),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=[f"{key}={value}" for key, value in WRONG])
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, field: str, value: str) -> None:
    """Missing, of the wrong kind, out of range, or not known at all."""
    folder = language(tmp_path, **{field: value})
    with pytest.raises(ConfigurationError) as caught:
        read(folder)
    message = str(caught.value)
    assert message.startswith(str(folder / "runtime.toml"))
    assert field in message


def test_every_wrong_field_is_named_at_once(tmp_path: Path) -> None:
    """One look mends all of them."""
    with pytest.raises(ConfigurationError) as caught:
        read(language(tmp_path, title="1", label="2", network='"all"'))
    assert all(f"{field}: " in str(caught.value) for field in ("title", "label", "network"))


@pytest.mark.parametrize("content", [b"title = ", b"\xff", b'title = "a"\ntitle = "b"'])
def test_a_manifest_that_is_no_toml_is_refused_by_its_path(tmp_path: Path, content: bytes) -> None:
    """Bad syntax and bad encoding alike."""
    path = language(tmp_path) / "runtime.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=str(path)):
        read(path.parent)


@pytest.mark.parametrize("name", ["Python", "9x", "a b", "-x", "x" * 33, "ä"])
def test_a_folder_that_cannot_be_a_language_s_name_is_refused(tmp_path: Path, name: str) -> None:
    """Names go into URLs, image tags and labels."""
    with pytest.raises(ConfigurationError, match="cannot be a language's name"):
        scan(str(language(tmp_path, name).parent))


def test_two_languages_of_one_name_are_refused_and_both_named(tmp_path: Path) -> None:
    """Which of them would run is nothing to guess."""
    first, second = language(tmp_path / "a"), language(tmp_path / "b")
    with pytest.raises(ConfigurationError) as caught:
        scan(f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_folders_are_searched_together(tmp_path: Path) -> None:
    """Languages of our own and of somebody else, side by side."""
    language(tmp_path, "lua")
    found = scan(f"{bundled('runtimes')}:{tmp_path}")
    assert {"lua", "python3"} <= set(found.names())


@pytest.mark.parametrize("folders", ["/nonexistent", ":"])
def test_no_language_at_all_is_refused(folders: str) -> None:
    """A service without languages would accept nothing, and say so late."""
    with pytest.raises(ConfigurationError):
        scan(folders)


def test_an_empty_folder_has_no_language(tmp_path: Path) -> None:
    """As a wrong path has none."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="no language found"):
        scan(str(tmp_path))


def test_a_name_wins_over_an_alias(tmp_path: Path) -> None:
    """Adding an alias never takes a language away."""
    language(tmp_path, "a", aliases='["b", "c"]')
    language(tmp_path, "b")
    found = scan(str(tmp_path))
    assert {name: runtime.name for name in "abc" if (runtime := found.find(name))} == {
        "a": "a",
        "b": "b",
        "c": "a",
    }


def test_of_two_languages_with_one_alias_the_first_by_name_has_it(tmp_path: Path) -> None:
    """Wherever the folders are, and in whatever order they are given."""
    language(tmp_path / "1", "z", aliases='["same"]')
    language(tmp_path / "2", "a", aliases='["same"]')
    for folders in ("1:2", "2:1"):
        found = scan(":".join(str(tmp_path / part) for part in folders.split(":")))
        assert (runtime := found.find("same")) is not None
        assert runtime.name == "a"


def test_an_unknown_language_is_not_found() -> None:
    """Nor is one by another case, or an empty name."""
    found = scan()
    assert [found.find(name) for name in ("cobol", "", "Python3", "python3 ")] == [None] * 4
    assert found.for_file(Path("x.cob")) is None
    assert found.for_file(Path("noextension")) is None


def test_the_manifest_decides_how_jobinit_is_started(tmp_path: Path) -> None:
    """The source's name, where the result comes from, whether stderr joins stdout, the runner last."""
    plain = read(language(tmp_path)).jobinit_argv
    assert plain == [
        "/executor/jobinit",
        "--source",
        "main.x",
        "--result",
        "channel",
        "--",
        "x",
        "{heap_mb}",
    ]
    shell = read(language(tmp_path, "y", result='"output"', merge_stderr="true")).jobinit_argv
    assert shell[shell.index("--result") + 1] == "output"
    assert shell.index("--merge-stderr") < shell.index("--")


def test_a_language_that_compiles_has_two_stages(tmp_path: Path) -> None:
    """The compiler runs in the language's own image, the program where the manifest says."""
    compile_ = '{ runner = ["make"], label = "x build", limits = { cpus = 2 } }'
    runtime = read(language(tmp_path, compile=compile_, run_image='"base"', result='"output"'))
    compiler, run = runtime.stages
    assert run is runtime
    assert (compiler.image_name, run.image_name) == ("x", "base")
    assert (compiler.manifest.runner, compiler.manifest.label) == (("make",), "x build")
    assert (compiler.manifest.source, compiler.manifest.result) == (runtime.manifest.source, "channel")
    assert compiler.compiler is None
    plain = read(language(tmp_path, "y"))
    assert (plain.stages, plain.image_name) == ([plain], "y")


def test_only_a_program_can_run_in_another_image(tmp_path: Path) -> None:
    """A script needs its language's image."""
    with pytest.raises(ConfigurationError, match=r"run_image needs \[compile\]"):
        read(language(tmp_path, run_image='"base"'))
    with pytest.raises(ConfigurationError, match="run_image"):
        read(language(tmp_path, "y", run_image='"debian"', compile='{ runner = ["make"], label = "y" }'))


def test_go_is_built_with_one_toolchain() -> None:
    """jobinit's and the language's are pinned alike."""
    pins = [
        [
            line
            for line in (bundled(folder) / name / "requirements.txt").read_text().splitlines()
            if line[0] != "#"
        ]
        for folder, name in (("images", "base"), ("runtimes", "go"))
    ]
    assert pins[0] == pins[1]


def test_a_language_may_run_in_the_images_that_its_scripts_name(tmp_path: Path) -> None:
    """It has no image of its own; jobinit comes from the base image, the command from elsewhere."""
    said = {"run_image": '"script"', "stdin": '"args"', "result": '"stdout"'}
    runtime = read(language(tmp_path, **said))
    assert (runtime.image_name, runtime.has_own_image, runtime.stages) == ("base", False, [runtime])
    argv = runtime.jobinit_argv_of(["/prog", "--"], folder="/srv")
    assert argv[0] == "/executor/jobinit"
    assert argv[argv.index("--") :] == ["--", "/prog", "--"]
    for flag, value in (("--stdin", "args"), ("--result", "stdout"), ("--dir", "/srv")):
        assert argv[argv.index(flag) + 1] == value
    plain = read(language(tmp_path, "y"))
    assert plain.has_own_image
    assert "--stdin" not in plain.jobinit_argv


@pytest.mark.parametrize(
    "said",
    [
        {"run_image": '"script"'},
        {"stdin": '"args"', "result": '"stdout"', "merge_stderr": "true"},
        {"run_image": '"script"', "stdin": '"args"', "result": '"stdout"', "sandbox": "true"},
        {"sandbox": "true", "compile": '{ runner = ["make"], label = "y" }'},
    ],
)
def test_fields_that_contradict_each_other_are_refused(tmp_path: Path, said: dict[str, str]) -> None:
    """A program of an image knows nothing of us; one that is compiled has no image to choose."""
    with pytest.raises(ConfigurationError, match=r"needs|cannot|need each other"):
        read(language(tmp_path, **said))


def test_a_language_can_say_how_its_scripts_name_resources(tmp_path: Path) -> None:
    """Each is told once, in the order of the patterns and then of the text."""
    patterns = r"""['(?m)^-- database ([\w/-]+)$', "ATTACH '\\$res:([^']+)'"]"""
    runtime = read(language(tmp_path, resources=patterns))
    text = "ATTACH '$res:f/x/b' AS b;\n-- database f/x/a\nATTACH '$res:f/x/b' AS c; -- database f/x/c\n"
    assert runtime.resources_of(text) == ["f/x/a", "f/x/b"]
    assert read(language(tmp_path, "none")).resources_of(text) == []
