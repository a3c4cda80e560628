"""Images that scripts name, as the service's users and operators see them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import RealService
from tests.foreign.workshop import Workshop

pytestmark = pytest.mark.engine

BB = "/bin/busybox"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RealService]:
    """A service for one test."""
    made = RealService(tmp_path / "data")
    made.folder.mkdir()
    try:
        made.start()
        yield made
    finally:
        made.close()


def says(image: str, *command: str) -> str:
    return f"# image: {image}\n# command: {json.dumps(command)}"


def test_a_job_in_any_image(service: RealService, workshop: Workshop) -> None:
    """Its arguments in, its result out, its log apart, and the job says where it ran."""
    job = service.ended(service.submit("docker", f"# image: {workshop.busybox}", {"n": [1, "ü"]}))
    assert (job["result"], job["success"], job["logs"]) == ({"n": [1, "ü"]}, True, "")
    assert job["sandbox"]["image"].startswith(f"docker.io/{workshop.busybox} (sha256:")
    assert job["sandbox"]["network"] == "none"
    wrong = service.ended(service.submit("docker", "# image: no/such@thing"))
    assert wrong["result"]["error"]["reason"] == "bad_input"
    refused = service.ended(service.submit("bash", "# docker\ndocker ps"))
    assert refused["result"]["error"]["message"].startswith("'# docker' mode is not supported: use a step")
    ready = service.http.get("/ready").json()
    assert [check["ok"] for check in ready["checks"] if check["name"] == "image docker"] == [True]
    service.await_no_containers()


def test_a_workspace_s_policy_and_the_instance_s_list_both_count(tmp_path: Path, workshop: Workshop) -> None:
    service = RealService(tmp_path / "data", EXECUTOR_IMAGES="executor-test/*", EXECUTOR_PULL="never")
    service.folder.mkdir()
    try:
        service.start()
        for name, images in (("open", ["*"]), ("closed", ["other/*"]), ("own", ["executor-test/busybox:*"])):
            said = {"id": name, "policy": {"images": images}}
            service.http.post("/api/workspaces/create", json=said).raise_for_status()
        reasons = []
        for workspace in ("main", "open", "closed", "own"):
            for image in (workshop.busybox, "docker.io/library/alpine"):
                body = {"language": "docker", "content": says(image, BB, "true")}
                answer = service.http.post(
                    f"/api/w/{workspace}/jobs/run_wait_result/preview", json=body
                ).json()
                reasons.append(answer["error"]["reason"] if answer else answer)
        no = "image_not_allowed"
        assert reasons == ["", no, "", no, no, no, "", no]
    finally:
        service.close()


def test_nothing_is_left_of_a_service_that_was_killed(service: RealService, workshop: Workshop) -> None:
    """Its container in a foreign image goes, and had no volumes; the job runs again, with the tools of before."""
    image = workshop.from_busybox("kept", "LABEL executor=somebody", "VOLUME /data")
    job_id = service.submit("docker", says(image, BB, "sh", "-c", f"echo begun >&2; {BB} sleep 3; echo 5"))
    service.running(job_id)
    (container,) = service.containers()
    assert {mount["Type"] for mount in workshop.api.inspect_container(container)["Mounts"]} == {"bind"}
    (tools,) = (service.folder / "tools").iterdir()
    made = tools.stat().st_ino
    service.kill()
    (service.folder / "tools" / ".unfinished-1").mkdir()
    service.start()
    job = service.ended(job_id)
    assert (job["result"], job["attempt"]) == (5, 2)
    service.await_no_containers(10)
    assert [path.stat().st_ino for path in (service.folder / "tools").iterdir()] == [made]


def test_the_command_runs_an_image(tmp_path: Path, workshop: Workshop) -> None:
    script = tmp_path / "step"
    script.write_text(says(workshop.busybox, BB, "wc", "-c"))
    command = [sys.executable, "-m", "executor", "run", str(script), "--language", "docker", "--arg", "n=3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
    script.write_text("echo")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no `# image: NAME` in the first lines" in done.stderr.replace("\n", " ")
