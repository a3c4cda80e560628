"""Images: what their tags depend on, what is built when, what a failure leaves."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest
from docker.errors import ImageNotFound

from executor.errors import ConfigurationError, EngineError
from executor.runtimes import read, scan
from executor.sandbox import imagebuild
from executor.sandbox.imagebuild import File, Recipe
from executor.sandbox.images import Images, Progress

DISTRO = "example/distro:1"
MANIFEST = (
    'title = "Shell"\nsource = "main.sh"\nrunner = ["sh", "/executor/runtime/runner.sh"]\nlabel = "sh"\n'
)


class FakeApi:
    """The calls of Docker's low-level client that images use, over a dictionary of images by tag."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {DISTRO: {"Id": "distro", "Size": 1, "Config": {}}}
        self.contexts: dict[str, dict[str, bytes]] = {}
        self.built: list[str] = []
        self.arguments: dict[str, dict[str, str]] = {}
        self.failing: str | None = None
        self.labels: dict[str, str] = {}

    def inspect_image(self, reference: str) -> dict[str, Any]:
        if reference not in self.kept:
            raise ImageNotFound(reference)
        return self.kept[reference]

    def images(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        return [image for image in self.kept.values() if filters["label"] in image.get("Labels", {})]

    def build(
        self, *, fileobj: io.BytesIO, labels: dict[str, str], buildargs: dict[str, str], **_: Any
    ) -> Iterator[dict[str, Any]]:
        name, self.labels = labels[imagebuild.IMAGE_LABEL], labels
        self.contexts[name] = unpacked(fileobj.read())
        self.arguments[name] = buildargs
        yield {"stream": "Step 1/2 : RUN make\n"}
        if name == self.failing:
            yield {"error": "it did not work"}
            return
        self.built.append(name)
        yield {"aux": {"ID": f"sha256:{len(self.built)}"}}

    def tag(self, image: str, repository: str, tag: str) -> bool:
        name = f"{repository}:{tag}"
        seen = {"Id": image, "Size": 5, "Created": 1_700_000_000, "Labels": self.labels, "RepoTags": [name]}
        self.kept[name] = seen | {"Config": {"Labels": self.labels}}
        return True

    def pull(self, repository: str, **_: Any) -> list[dict[str, str]]:
        return [{"error": f"no registry has {repository}"}]

    def remove_image(self, reference: str) -> None:
        self.kept = {tag: image for tag, image in self.kept.items() if reference not in (tag, image["Id"])}


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Contents of a context's files."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {m.name: cast(Any, tar.extractfile(m)).read() for m in tar.getmembers() if m.isfile()}


class Bench:
    """A checkout with one language `shell`, and an engine to build on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = FakeApi()
        self.lines: list[Progress] = []
        self.write("images/builder/Dockerfile", "ARG DISTRO\nFROM ${DISTRO}\n")
        self.write("images/base/Dockerfile", "ARG DISTRO\nARG BUILDER\nFROM ${BUILDER}\nFROM ${DISTRO}\n")
        self.write("images/jobinit/main.go", "package main\n")
        self.write("runtimes/shell/Dockerfile", "ARG BASE\nFROM ${BASE}\n")
        self.write("runtimes/shell/runtime.toml", MANIFEST)
        self.write("runtimes/shell/runner.sh", "echo\n")

    def write(self, path: str, content: str) -> Path:
        """Write a file of the checkout."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    @property
    def images(self) -> Images:
        """A new look at the checkout, as another process would have it."""
        client = cast(docker.DockerClient, SimpleNamespace(api=self.api))
        runtimes = scan(str(self.folder / "runtimes"))
        lock = self.folder / "lock"
        return Images(DISTRO, runtimes, self.folder / "images", connect=lambda: client, lock=lock)

    @property
    def tag(self) -> str:
        """The language's tag as of now."""
        return self.images.tag_for("shell")

    def build(self) -> list[str]:
        """Build all; the names of what was built this time."""
        before = len(self.api.built)
        self.images.build(None, self.lines.append)
        return self.api.built[before:]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A checkout and an engine; the host trusts one certificate and uses one private index."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificate one")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    return Bench(tmp_path / "checkout")


def test_first_build_makes_parents_first_and_a_second_one_nothing(bench: Bench) -> None:
    """An unchanged image is never built again."""
    assert bench.images.missing() == ["shell"]
    assert bench.build() == ["builder", "base", "shell"]
    assert bench.images.missing() == []
    assert bench.build() == []
    assert [(p.name, p.present, p.outdated) for p in bench.images.plan()] == [
        ("distro", True, False),
        ("builder", True, False),
        ("base", True, False),
        ("shell", True, False),
    ]


def test_nothing_to_build_does_not_wait_for_another_build(bench: Bench) -> None:
    """A set-up that finds everything there takes no lock."""
    bench.build()
    (bench.folder / "lock").unlink()
    bench.build()
    assert not (bench.folder / "lock").exists()


def test_progress_names_image_step_and_place(bench: Bench) -> None:
    """Enough to draw a bar and a line under it."""
    bench.build()
    assert Progress("base", 2, 3, 1, 2, "Step 1/2 : RUN make") in bench.lines
    assert [p.image for p in bench.lines if p.is_done] == ["builder", "base", "shell"]


Change = Callable[[Bench], object]
CHANGES: dict[str, Change] = {
    "runner": lambda b: b.write("runtimes/shell/runner.sh", "echo more\n"),
    "new file": lambda b: b.write("runtimes/shell/lib/more.sh", ""),
    "executable bit": lambda b: (b.folder / "runtimes/shell/runner.sh").chmod(0o755),
    "dockerfile": lambda b: b.write("runtimes/shell/Dockerfile", "ARG BASE\nFROM ${BASE}\nRUN x\n"),
    "runner's command": lambda b: b.write(
        "runtimes/shell/runtime.toml", MANIFEST.replace('"sh", "/', '"dash", "/')
    ),
    "jobinit": lambda b: b.write("images/jobinit/main.go", "package main // new\n"),
    "jobinit's tests": lambda b: b.write("images/jobinit/main_test.go", "package main\n"),
    "base": lambda b: b.write(
        "images/base/Dockerfile", "ARG DISTRO\nARG BUILDER\nFROM ${BUILDER}\nFROM ${DISTRO}\nRUN x\n"
    ),
    "builder": lambda b: b.write("images/builder/Dockerfile", "ARG DISTRO\nFROM ${DISTRO}\nRUN x\n"),
}
NO_CHANGES: dict[str, Change] = {
    "conformance": lambda b: b.write("runtimes/shell/conformance/echo.sh", "echo\n"),
    "caches": lambda b: b.write("runtimes/shell/__pycache__/runner.pyc", "x"),
    "editor's file": lambda b: b.write("runtimes/shell/runner.sh~", "x"),
    "manifest's title": lambda b: b.write("runtimes/shell/runtime.toml", MANIFEST.replace("Shell", "SH")),
    "mode of others": lambda b: (b.folder / "runtimes/shell/runner.sh").chmod(0o640),
    "same content again": lambda b: b.write("runtimes/shell/runner.sh", "echo\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_tag_changes_with_what_the_image_is_made_of(bench: Bench, change: Change) -> None:
    """A change anywhere below shows in the language's tag."""
    before = bench.tag
    change(bench)
    assert bench.tag != before


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=list(NO_CHANGES))
def test_tag_does_not_change_with_anything_else(bench: Bench, change: Change) -> None:
    """What does not enter the image does not make it new."""
    before = bench.tag
    change(bench)
    assert bench.tag == before


def test_tag_is_the_same_in_another_checkout(tmp_path: Path) -> None:
    """Paths and machines do not matter, inputs do."""
    assert Bench(tmp_path / "a").tag == Bench(tmp_path / "b").tag


def test_tag_follows_the_name_of_the_base_image(bench: Bench) -> None:
    """Another distribution makes other images."""
    runtimes = scan(str(bench.folder / "runtimes"))
    client = cast(docker.DockerClient, SimpleNamespace(api=bench.api))
    other = Images("example/other:1", runtimes, bench.folder / "images", connect=lambda: client)
    assert other.tag_for("shell") != bench.tag


def test_renewed_host_certificates_refresh_images_but_miss_none(bench: Bench, tmp_path: Path) -> None:
    """A running service keeps its images; the next build replaces them under the same tags."""
    bench.build()
    tag, before = bench.tag, bench.api.kept[bench.tag]["Id"]
    (tmp_path / "ca.pem").write_text("certificate two")
    assert bench.tag == tag
    assert bench.images.missing() == []
    assert bench.images.plan()[-1].outdated
    assert bench.build() == ["builder", "base", "shell"]
    assert bench.api.kept[tag]["Id"] != before
    assert before not in [image["Id"] for image in bench.api.kept.values()]
    assert not bench.images.plan()[-1].outdated


def test_host_settings_enter_only_internal_builds(bench: Bench) -> None:
    """The builder gets index and certificates, the base certificates, a language neither."""
    bench.build()
    contexts = bench.api.contexts
    assert contexts["builder"]["host/ca-certificates.crt"] == b"certificate one"
    assert b"index-url = https://index.example/simple" in contexts["builder"]["host/pip.conf"]
    assert {name for name in contexts["base"] if name.startswith("host/")} == {"host/ca-certificates.crt"}
    assert set(contexts["shell"]) == {"Dockerfile", "runtime/runner.sh"}
    assert bench.api.arguments["shell"]["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_a_build_gets_only_the_parents_its_dockerfile_asks_for(bench: Bench) -> None:
    """A language that fetches nothing does not depend on the builder."""
    bench.build()
    assert "BASE" in bench.api.arguments["shell"]
    assert "BUILDER" not in bench.api.arguments["shell"]


def test_language_ends_with_its_folder_its_user_and_jobinit(bench: Bench) -> None:
    """The end that all languages share comes from the manifest, not from each Dockerfile."""
    bench.build()
    assert bench.api.contexts["shell"]["Dockerfile"].decode() == (
        "ARG BASE\nFROM ${BASE}\n"
        "COPY runtime/ /executor/runtime/\n"
        "USER 65532:65532\n"
        "WORKDIR /job\n"
        'ENTRYPOINT ["/executor/jobinit", "--source", "main.sh", "--result", "channel", "--", '
        '"sh", "/executor/runtime/runner.sh"]\n'
        "CMD []\n"
    )


def test_language_that_compiles_needs_its_own_image_and_the_one_it_runs_in(bench: Bench) -> None:
    """By hand its own image compiles; a base that has gone is built again though no child needs it."""
    manifest = MANIFEST + 'run_image = "base"\n[compile]\nrunner = ["make"]\nlabel = "sh build"\n'
    bench.write("runtimes/shell/runtime.toml", manifest)
    assert bench.build() == ["builder", "base", "shell"]
    assert bench.api.contexts["shell"]["Dockerfile"].decode().count('"--", "make"]') == 1
    (runtime,) = scan(str(bench.folder / "runtimes"))
    images = bench.images
    assert [images.tag_for(stage).split(":")[0] for stage in runtime.stages] == [
        "executor/shell",
        "executor/base",
    ]
    assert bench.images.tag_for("shell") == images.tag_for(runtime.stages[0])
    bench.api.remove_image(images.tag_for(runtime))
    assert bench.build() == ["base"]


def test_languages_with_network_need_the_holder_too(bench: Bench) -> None:
    """Others do not: nobody builds it for nothing."""
    bench.write("images/holder/Dockerfile", "ARG BASE\nFROM ${BASE}\n")
    assert bench.build() == ["builder", "base", "shell"]
    bench.write("runtimes/sql/Dockerfile", "ARG BASE\nFROM ${BASE}\n")
    bench.write("runtimes/sql/runtime.toml", MANIFEST.replace("Shell", "SQL") + 'network = "egress"\n')
    assert bench.build() == ["holder", "sql"]
    assert bench.build() == []


def test_failed_build_names_its_step_and_leaves_no_tag(bench: Bench) -> None:
    """What was built before the failure stays and is not built again."""
    bench.api.failing = "shell"
    with pytest.raises(EngineError, match=r"failed at step 1/2: RUN make\n  it did not work"):
        bench.build()
    assert bench.images.missing() == ["shell"]
    bench.api.failing = None
    assert bench.build() == ["shell"]


def test_only_the_named_languages_are_built(bench: Bench) -> None:
    """Parents come along, other languages do not."""
    bench.write("runtimes/other/Dockerfile", "ARG BASE\nFROM ${BASE}\n")
    bench.write("runtimes/other/runtime.toml", MANIFEST)
    bench.images.build(["other"], bench.lines.append)
    assert bench.api.built == ["builder", "base", "other"]
    assert bench.images.missing() == ["shell"]


def test_unknown_language_is_refused_with_the_known_ones(bench: Bench) -> None:
    """The message says what could have been meant."""
    with pytest.raises(ConfigurationError, match="no language is called 'cobol'; there are: shell"):
        bench.images.build(["cobol"], bench.lines.append)


def test_language_cannot_take_an_internal_images_name(bench: Bench) -> None:
    """A folder called `base` would share its images' name with ours."""
    bench.write("runtimes/base/Dockerfile", "")
    bench.write("runtimes/base/runtime.toml", MANIFEST)
    with pytest.raises(ConfigurationError, match="cannot be called 'base'"):
        _ = bench.images


def test_fresh_build_makes_everything_again(bench: Bench) -> None:
    """For the distribution's newest packages; a distribution that cannot be pulled stays as it is."""
    bench.build()
    assert bench.images.build(["shell"], bench.lines.append, fresh=True)
    assert bench.api.built[3:] == ["builder", "base", "shell"]


def test_outdated_images_are_removed_and_foreign_ones_stay(bench: Bench) -> None:
    """An image that somebody built on one of ours carries our labels, but is not ours."""
    bench.build()
    old = bench.tag
    bench.api.tag("sha256:foreign", "acme/report", "1")
    bench.write("runtimes/shell/runner.sh", "echo new\n")
    bench.build()
    assert bench.images.remove_outdated() == [old]
    assert "acme/report:1" in bench.api.kept
    assert bench.tag in bench.api.kept


def test_context_depends_on_nothing_but_names_contents_and_executable_bits() -> None:
    """Owners, times and modes of the checkout do not reach an image."""
    files = {"a/b/run": File(b"x", is_executable=True), "a/read": File(b"y")}
    archive = imagebuild.packed(files)
    assert archive == imagebuild.packed(dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        entries = [(m.name, m.mode, m.uid, m.gid, m.mtime) for m in tar.getmembers()]
    assert entries == [
        ("a", 0o755, 0, 0, 0),
        ("a/b", 0o755, 0, 0, 0),
        ("a/b/run", 0o755, 0, 0, 0),
        ("a/read", 0o644, 0, 0, 0),
    ]


def test_recipe_tells_apart_what_looks_alike() -> None:
    """Moving a byte from a name to a content, or a file to another name, is a change."""
    recipe = Recipe("x", "FROM y", {"a": File(b"b")}, {"BASE": "z"})
    others = [
        replace(recipe, files={"ab": File(b"")}),
        replace(recipe, files={"b": File(b"a")}),
        replace(recipe, parents={"BUILDER": "z"}),
        replace(recipe, dockerfile="FROM y "),
    ]
    assert recipe.digest not in {other.digest for other in others}


def test_what_a_failing_step_wrote_to_stderr_is_never_lost() -> None:
    """It may come before many lines of stdout; the message has it all the same."""
    events = [
        {"stream": "Step 4/9 : RUN make\n"},
        {"stream": " ---> Running in 0123\n"},
        {"stream": "\x1b[91mboo\n\x1b[0m"},
        *({"stream": f"line {n}\r\n"} for n in range(50)),
        {"error": "The command '/bin/sh -c make' returned a non-zero code: 3"},
    ]
    with pytest.raises(EngineError) as caught:
        imagebuild.followed(events, "executor/x:1", lambda step, steps, line: None)
    lines = str(caught.value).splitlines()
    assert lines[:4] == [
        "building executor/x:1 failed at step 4/9: RUN make",
        "  it returned a non-zero code: 3",
        "  its last lines:",
        "    boo",
    ]
    assert lines[4:] == [f"    line {n}" for n in range(30, 50)]


def test_build_without_an_image_is_a_failure() -> None:
    """An engine that closes the stream early has built nothing."""
    with pytest.raises(EngineError, match="ended without an image"):
        imagebuild.followed([{"stream": "Step 1/2 : RUN x\n"}], "executor/x:1", lambda *_: None)


def test_missing_dockerfile_is_named(bench: Bench) -> None:
    """A language without a Dockerfile is a wrong folder, not a crash."""
    (bench.folder / "runtimes/shell/Dockerfile").unlink()
    with pytest.raises(ConfigurationError, match="shell/Dockerfile"):
        _ = bench.tag


def test_files_of_a_language_do_not_include_its_manifest(bench: Bench) -> None:
    """The image holds what runs; the rest of the folder is for the host."""
    assert set(imagebuild.runtime_files(read(bench.folder / "runtimes/shell"))) == {"runtime/runner.sh"}
