"""The images of this instance: which there should be, which there are, building what is missing.

An image's tag is a hash of what it is made of, so that an unchanged image is never rebuilt and a
changed one never confused with its predecessor. How the host reaches registries, its CA bundle
included, is no part of the tag: a service must not lose its images because the host's certificates
were renewed. `build` refreshes such images, under their old tags.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError

from executor.debian import exclusive
from executor.errors import ConfigurationError, EngineError
from executor.runtimes import Runtime, Runtimes, bundled
from executor.sandbox import distro, hostsettings, imagebuild
from executor.sandbox.docker import translated
from executor.sandbox.imagebuild import IMAGE_LABEL, INPUTS_LABEL, File, Recipe

DISTRO, BUILDER, BASE, HOLDER = "distro", "builder", "base", "holder"
CA_FILE = "host/ca-certificates.crt"
PIP_FILE = "host/pip.conf"
HOST_FILES = {BUILDER: (CA_FILE, PIP_FILE), BASE: (CA_FILE,)}


@dataclass(frozen=True)
class ImagePlan:
    """One image of the plan: what it is called and whether the engine has it."""

    name: str
    tag: str
    inputs: str
    present: bool
    outdated: bool = False  # present, but made with another CA bundle than the host has now
    size_bytes: int | None = None
    created: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """Where a build stands: image `number` of `total`, its `step` of `steps` (0: not known), a line."""

    image: str
    number: int
    total: int
    step: int
    steps: int
    line: str
    is_done: bool = False


class Images:
    """The images that these languages need, on the engine that `connect` reaches."""

    def __init__(
        self,
        base_image: str,
        runtimes: Runtimes,
        images_folder: Path | None = None,
        connect: Callable[[], docker.DockerClient] = docker.from_env,
        lock: Path | None = None,
    ) -> None:
        self._base_image = base_image
        self._runtimes = runtimes
        self._folder = images_folder or bundled("images")
        self._connect = connect
        self._lock = lock or Path(tempfile.gettempdir()) / f"executor-images-{os.getuid()}.lock"
        self._shared = _in_build_order(self._folder)
        if taken := sorted({DISTRO, *self._shared} & set(runtimes.names())):
            raise ConfigurationError(f"a language cannot be called {taken[0]!r}; rename its folder")

    def close(self) -> None:
        """Let go of the connections to the engine, if any were made."""
        if (client := self.__dict__.get("_client")) is not None:
            client.close()

    def plan(self) -> list[ImagePlan]:
        """Every image, in the order in which they are built."""
        recipes = self._recipes
        return [self._plan_of_distro(), *self._plans(recipes)]

    def tag_for(self, runtime: Runtime | str) -> str:
        """The tag of a language's own image, or of the one a runtime runs in, present or not.

        Asks the engine at most once per object.
        """
        name = runtime if isinstance(runtime, str) else runtime.image_name
        return self._recipes[name].tag

    def missing(self) -> list[str]:
        """The languages whose image the engine does not have."""
        return [p.name for p in self._plans(self._recipes) if p.name not in self._shared and not p.present]

    def build(
        self, only: Iterable[str] | None, report: Callable[[Progress], None], *, fresh: bool = False
    ) -> list[str]:
        """Build what is missing or outdated of the languages in `only` (default: all); the tags built.

        Raises EngineError naming the step that failed. A second build at the same time waits for the
        first and then finds its images. `fresh` builds
        them even if they are there, from scratch, with the distribution's packages of today.
        """
        wanted = self._wanted(only)
        if not fresh and not self._is_any_due(wanted):
            return []
        line_only = _distro_reporter(report, len(wanted) + 2)
        with exclusive(self._lock, line_only):
            if fresh or self._is_any_due(wanted):  # what we waited for may have been just this
                reference = translated(
                    lambda: distro.settle(self._client, self._base_image, line_only, fresh=fresh), ()
                )
                self.__dict__["_recipes"] = self._recipes_from(reference)
            return self._build_in_order(wanted, report, fresh)

    def remove_outdated(self) -> list[str]:
        """Remove images made by other versions of the inputs; what containers use stays. The tags removed."""
        current = {plan.tag for plan in self.plan()}
        named = [tag for summary in self._listed() for tag in summary.get("RepoTags") or ()]
        # An image that somebody built on one of ours carries our labels, but not our name.
        return [
            tag for tag in named if tag.startswith("executor/") and tag not in current and self._remove(tag)
        ]

    # ------------------------------------------------------------ inputs

    @cached_property
    def _client(self) -> docker.DockerClient:
        return translated(self._connect, ())

    @cached_property
    def _recipes(self) -> dict[str, Recipe]:
        """The recipes on the distribution in use, or on the one that is wished for if none is yet."""
        in_use = translated(distro.chosen, (self._client, self._base_image))
        return self._recipes_from(in_use or self._base_image)

    def _recipes_from(self, distro_reference: str) -> dict[str, Recipe]:
        """All recipes, parents first."""
        recipes: dict[str, Recipe] = {}
        parents = {DISTRO.upper(): distro_reference}
        for name in self._shared:
            recipes[name] = self._shared_recipe(name, parents)
            parents[name.upper()] = recipes[name].tag
        for runtime in sorted((r for r in self._runtimes if r.has_own_image), key=lambda r: r.name):
            recipes[runtime.name] = _runtime_recipe(runtime, parents)
        return recipes

    def _shared_recipe(self, name: str, parents: Mapping[str, str]) -> Recipe:
        """Recipe of an image that others start from; the base image's build makes jobinit too."""
        folder = self._folder / name
        dockerfile = _dockerfile(folder)
        files = imagebuild.folder_files(folder, without={"Dockerfile"})
        if name == BASE:
            files |= imagebuild.folder_files(self._folder / "jobinit", "jobinit/")
        return Recipe(name, dockerfile, files, _asked(dockerfile, parents), HOST_FILES.get(name, ()))

    @cached_property
    def _ca_bundle(self) -> bytes:
        return hostsettings.ca_bundle()

    def _inputs(self, recipe: Recipe) -> str:
        """Hash of all inputs, the host's CA bundle included; the label of an image that is up to date."""
        return hashlib.sha256(recipe.digest.encode() + hashlib.sha256(self._ca_bundle).digest()).hexdigest()

    # ------------------------------------------------------------ the engine's view

    def _listed(self) -> list[dict[str, Any]]:
        def listed() -> list[dict[str, Any]]:
            return list(self._client.api.images(filters={"label": IMAGE_LABEL}))

        return translated(listed, ())

    def _plans(self, recipes: Mapping[str, Recipe]) -> list[ImagePlan]:
        here = {tag: summary for summary in self._listed() for tag in summary.get("RepoTags") or ()}
        plans = []
        for recipe in recipes.values():
            inputs = self._inputs(recipe)
            if (found := here.get(recipe.tag)) is None:
                plans.append(ImagePlan(recipe.name, recipe.tag, inputs, present=False))
                continue
            is_outdated = (found.get("Labels") or {}).get(INPUTS_LABEL) != inputs
            made = datetime.fromtimestamp(found["Created"], UTC)
            plans.append(ImagePlan(recipe.name, recipe.tag, inputs, True, is_outdated, found["Size"], made))
        return plans

    def _plan_of_distro(self) -> ImagePlan:
        reference = translated(distro.chosen, (self._client, self._base_image))
        if reference is None:
            return ImagePlan(DISTRO, self._base_image, "", present=False)
        found = translated(self._client.api.inspect_image, (reference,))
        # Some engines leave a nine-digit fraction, others none, and an imported image may have no time.
        made = str(found.get("Created") or "")[:19]
        created = datetime.fromisoformat(made).replace(tzinfo=UTC) if made else None
        return ImagePlan(DISTRO, reference, "", True, size_bytes=found["Size"], created=created)

    # ------------------------------------------------------------ building

    def _wanted(self, only: Iterable[str] | None) -> list[str]:
        """The images that these languages need by themselves, not only as parents of others."""
        if only is None:
            return self._images_of(self._runtimes)
        found = [(name, self._runtimes.find(name)) for name in only]
        if unknown := [name for name, runtime in found if runtime is None]:
            known = ", ".join(self._runtimes.names())
            raise ConfigurationError(f"no language is called {unknown[0]!r}; there are: {known}")
        return self._images_of(runtime for _, runtime in found if runtime)

    @staticmethod
    def _images_of(runtimes: Iterable[Runtime]) -> list[str]:
        found = list(runtimes)
        holders = {HOLDER} if any(runtime.manifest.network == "egress" for runtime in found) else set()
        return sorted({stage.image_name for runtime in found for stage in runtime.stages} | holders)

    def _is_any_due(self, wanted: list[str]) -> bool:
        return any(_needs_building(plan) for plan in self._plans(self._recipes) if plan.name in wanted)

    def _build_in_order(
        self, wanted: list[str], report: Callable[[Progress], None], fresh: bool
    ) -> list[str]:
        """Build the languages that need it, each after the images it starts from."""
        recipes = self._recipes
        plans = {plan.name: plan for plan in self._plans(recipes)}
        due = {name for name in wanted if fresh or _needs_building(plans[name])}
        by_tag = {recipe.tag: recipe.name for recipe in recipes.values()}
        for name in reversed(list(recipes)):  # children first, so that their parents' need is seen
            if name in due:
                parents = {by_tag[tag] for tag in recipes[name].parents.values() if tag in by_tag}
                due |= {parent for parent in parents if fresh or _needs_building(plans[parent])}
        order = [name for name in recipes if name in due]
        replaced = [self._id_of(plans[name].tag) for name in order if plans[name].present]
        for number, name in enumerate(order, 1):
            self._build_one(
                recipes[name], plans[name].inputs, _reporter(report, name, number, len(order)), fresh
            )
            report(Progress(name, number, len(order), 0, 0, recipes[name].tag, is_done=True))
        for image in reversed(replaced):
            self._remove(image)
        return [recipes[name].tag for name in order]

    def _id_of(self, tag: str) -> str:
        return str(translated(self._client.api.inspect_image, (tag,))["Id"])

    def _build_one(self, recipe: Recipe, inputs: str, report: imagebuild.StepReport, fresh: bool) -> None:
        report(0, 0, f"building {recipe.tag}")
        host_files = {}
        if CA_FILE in recipe.host_files:
            host_files[CA_FILE] = File(self._ca_bundle)
        if PIP_FILE in recipe.host_files:
            host_files[PIP_FILE] = File(hostsettings.pip_conf(hostsettings.pip_settings()).encode())
        imagebuild.build(
            self._client, recipe, host_files, hostsettings.proxy_arguments(), inputs, report, fresh=fresh
        )

    def _remove(self, reference: str) -> bool:
        try:
            self._client.api.remove_image(reference)
        except APIError as error:
            if error.status_code not in (404, 409):  # gone already, or something still needs it
                raise EngineError(f"cannot remove {reference}: {error.explanation}") from error
            return False
        return True


def _needs_building(plan: ImagePlan) -> bool:
    return not plan.present or plan.outdated


def _dockerfile(folder: Path) -> str:
    try:
        return (folder / "Dockerfile").read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder / 'Dockerfile'}: {error}") from error


def _in_build_order(folder: Path) -> list[str]:
    """The images that a Dockerfile in a folder of their own describes, each after those it starts from."""
    found = {path.parent.name: _dockerfile(path.parent) for path in sorted(folder.glob("*/Dockerfile"))}
    asked = {
        name: {other for other in found if other.upper() in imagebuild.declared_arguments(dockerfile)}
        for name, dockerfile in found.items()
    }
    try:
        return list(TopologicalSorter(asked).static_order())
    except CycleError as error:
        raise ConfigurationError(f"{folder}: images start from each other: {error.args[1]}") from error


def _asked(dockerfile: str, parents: Mapping[str, str]) -> dict[str, str]:
    """Those parents that the Dockerfile declares as arguments; it starts from no other."""
    declared = imagebuild.declared_arguments(dockerfile)
    return {argument: tag for argument, tag in parents.items() if argument in declared}


def _runtime_recipe(runtime: Runtime, parents: Mapping[str, str]) -> Recipe:
    dockerfile = _dockerfile(runtime.folder)
    whole = imagebuild.runtime_dockerfile(runtime, dockerfile)
    return Recipe(runtime.name, whole, imagebuild.runtime_files(runtime), _asked(dockerfile, parents))


def _reporter(
    report: Callable[[Progress], None], image: str, number: int, total: int
) -> imagebuild.StepReport:
    return lambda step, steps, line: report(Progress(image, number, total, step, steps, line))


def _distro_reporter(report: Callable[[Progress], None], total: int) -> Callable[[str], None]:
    """Lines from before the first build; how many images follow is a guess until then."""
    return lambda line: report(Progress(DISTRO, 0, total, 0, 0, line))
