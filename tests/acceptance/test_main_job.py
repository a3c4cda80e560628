"""The main job, as its users see it: a posted script runs in a container of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor.containers import docker_parts
from executor.runtimes import bundled, scan
from executor.settings import load
from tests.acceptance.service import RealService, processes_with

pytestmark = pytest.mark.engine

HELLO = {
    "python3": "def main(n: int):\n    return n + 1\n",
    "deno": "export function main(n: number) { return n + 1 }\n",
    "bash": 'n="$1"\necho $((n + 1)) > result.json\n',
    "go": "package inner\n\nfunc main(n int) int { return n + 1 }\n",
}


def test_a_hundred_jobs_at_once_all_end_right_and_leave_nothing(service: RealService) -> None:
    languages = list(HELLO)
    ids = [service.submit(languages[n % 4], HELLO[languages[n % 4]], {"n": n}) for n in range(100)]
    results = [service.ended(job_id, 300)["result"] for job_id in ids]
    assert results == [n + 1 for n in range(100)]
    service.await_no_containers(5)


def test_jobs_never_see_each_other(service: RealService) -> None:
    """Neither files, nor arguments, nor environment, nor processes of one reach another."""
    secret = uuid.uuid4().hex
    plant = (
        "import os, time\n"
        "def main(secret):\n"
        "    for d in ('/tmp', '/job', '/shared', '/dev/shm'):\n"
        "        open(f'{d}/{secret}', 'w').write(secret)\n"
        "    print('planted', flush=True)\n"
        "    time.sleep(8)\n"
    )
    look = (
        "import os\n"
        "def main():\n"
        "    found = []\n"
        "    for d in ('/tmp', '/job', '/shared', '/dev/shm', '/executor/in'):\n"
        "        found += os.listdir(d)\n"
        "    for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "        try: found.append(open(f'/proc/{pid}/cmdline').read())\n"
        "        except OSError: pass\n"
        "    return [found, dict(os.environ), open('args.json').read()]\n"
    )
    planted = service.submit("python3", plant, {"secret": secret}, limits={"timeout_s": 20})
    service.running(planted)
    seen = json.dumps(service.ended(service.submit("python3", look))["result"])
    assert secret not in seen
    assert planted not in seen
    assert "of-the-service" not in seen
    service.http.post(f"/api/w/main/jobs_u/queue/cancel/{planted}", json={})


@pytest.mark.parametrize("language", ["python3", "deno", "bash", "go"])
def test_a_time_out_ends_every_process_within_a_second(service: RealService, language: str) -> None:
    marker = f"7{uuid.uuid4().int % 10**9}"
    scripts = {
        "python3": f"import subprocess, time\ndef main():\n    subprocess.Popen(['setsid', 'sleep', '{marker}'])\n"
        "    print('up', flush=True)\n    time.sleep(60)\n",
        "deno": f"export async function main() {{ new Deno.Command('sleep', {{ args: ['{marker}'] }}).spawn();"
        " console.log('up'); await new Promise(r => setTimeout(r, 60000)) }",
        "bash": f"trap '' TERM INT\n(setsid sleep {marker} &)\necho up\nsleep {marker}\n",
        "go": 'package inner\n\nimport (\n\t"os/exec"\n\t"time"\n)\n\nfunc main() {\n\t'
        f'exec.Command("setsid", "sleep", "{marker}").Start()\n\tprintln("up")\n\ttime.Sleep(time.Hour)\n}}\n',
    }
    job_id = service.submit(language, scripts[language], limits={"timeout_s": 2})
    service.running(job_id)
    assert processes_with(marker), "the processes are visible from the host while they run"
    job = service.ended(job_id)
    assert job["result"]["error"]["reason"] == "timeout"
    assert (job["status"], job["canceled_by"], job["canceled_reason"]) == (
        "failure",
        "timeout",
        "duration > 2",
    )
    assert processes_with(marker) == []
    assert job["sandbox"]["engine"] in ("docker", "oci")


def test_a_cancellation_ends_a_stubborn_script_within_its_grace_period_and_a_second(
    service: RealService,
) -> None:
    marker = f"8{uuid.uuid4().int % 10**9}"
    script = f"trap 'echo asked' TERM\necho up\nwhile true; do sleep {marker} & wait $!; done\n"
    job_id = service.submit("bash", script)
    service.running(job_id)
    began = time.monotonic()
    response = service.http.post(f"/api/w/main/jobs_u/queue/cancel/{job_id}", json={"reason": "enough"})
    assert (response.status_code, response.text) == (200, job_id)
    job = service.ended(job_id)
    assert time.monotonic() - began < 5 + 1 + 4
    assert job["status"] == "canceled"
    error = job["result"]["error"]
    assert (error["name"], error["reason"]) == ("Canceled", "cancelled")
    assert error["message"] == "Job canceled: enough by admin"
    assert "asked" in job["logs"]
    assert processes_with(marker) == []


def test_a_cancelled_script_may_clean_up(service: RealService) -> None:
    script = (
        "import time\ndef main():\n    print('up', flush=True)\n    try: time.sleep(60)\n"
        "    except KeyboardInterrupt: print('cleaned up')\n"
    )
    job_id = service.submit("python3", script)
    service.running(job_id)
    began = time.monotonic()
    service.http.post(f"/api/w/main/jobs_u/queue/cancel/{job_id}", json={})
    job = service.ended(job_id)
    assert time.monotonic() - began < 4
    assert "cleaned up" in job["logs"]
    assert job["status"] == "canceled"


def test_logs_arrive_while_the_script_runs(service: RealService) -> None:
    job_id = service.submit("bash", "for i in 1 2 3; do echo line $i; sleep 0.7; done\n")
    times: list[tuple[float, str]] = []
    last: dict[str, Any] = {}
    url = f"/api/w/main/jobs_u/getupdate_sse/{job_id}"
    with service.http.stream("GET", url) as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                if event.get("new_logs"):
                    times.append((time.monotonic(), event["new_logs"]))
                last = event
    assert "".join(text for _, text in times) == "line 1\nline 2\nline 3\n"
    assert len(times) >= 3
    assert times[-1][0] - times[0][0] > 1
    assert last["completed"] is True
    assert last["job"]["result"] == "line 3"


def test_a_client_that_disconnects_cancels_its_job(service: RealService) -> None:
    marker = f"9{uuid.uuid4().int % 10**9}"
    body = {"language": "bash", "content": f"sleep {marker}\n"}
    with pytest.raises(httpx.ReadTimeout):
        service.http.post("/api/w/main/jobs/run_wait_result/preview", json=body, timeout=3)
    deadline = time.monotonic() + 10
    while processes_with(marker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_with(marker) == []
    jobs = service.http.get("/api/w/main/jobs/list", params={"per_page": 1}).json()
    assert jobs[0]["canceled"] is True


def test_five_megabytes_go_in_and_come_out_unchanged(service: RealService) -> None:
    text = 'aä€😀\u0000\n"\\' * 700_000
    body = {"language": "python3", "content": "def main(text):\n    return text\n", "args": {"text": text}}
    body |= {"limits": {"memory_mb": 512, "result_bytes": 64 << 20}}
    body["content"] = "# skip_result_postprocessing\n" + str(body["content"])
    response = service.http.post("/api/w/main/jobs/run_wait_result/preview", json=body)
    assert response.status_code == 200
    assert response.json() == text


def test_a_script_cannot_get_at_process_one(service: RealService) -> None:
    """Neither signals, nor limits, nor its memory, nor its descriptors; and io_uring is refused."""
    script = """
import ctypes, os, signal

def main():
    libc = ctypes.CDLL(None, use_errno=True)
    def errno(call):
        ctypes.set_errno(0)
        call()
        return ctypes.get_errno()
    limit = (ctypes.c_ulong * 2)(1, 1)
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
        os.kill(1, number)
    seen = {"limit": errno(lambda: libc.prlimit(1, 9, limit, None)),
            "io_uring": errno(lambda: libc.syscall(425, 1, None)),
            "own limit": errno(lambda: libc.prlimit(0, 7, (ctypes.c_ulong * 2)(64, 1024), None))}
    for name in ("environ", "mem", "fd"):
        try:
            seen[name] = bool(os.listdir("/proc/1/fd") if name == "fd" else open(f"/proc/1/{name}", "rb").read(1))
        except OSError as error:
            seen[name] = type(error).__name__
    return seen
"""
    assert service.ended(service.submit("python3", script))["result"] == {
        "limit": 1,
        "io_uring": 1,
        "own limit": 0,
        "environ": "PermissionError",
        "mem": "PermissionError",
        "fd": "PermissionError",
    }


def test_memory_is_told_apart_from_time_and_failure(service: RealService) -> None:
    script = "def main():\n    keep = []\n    while True: keep.append(bytearray(b'x') * (8 << 20))\n"
    job = service.ended(service.submit("python3", script, limits={"memory_mb": 64}))
    error = job["result"]["error"]
    assert error["reason"] == "out_of_memory"
    assert "memory_mb: 64" in error["message"]


def test_a_second_service_on_the_same_directory_is_refused(service: RealService) -> None:
    second = RealService(service.folder)
    with pytest.raises(AssertionError, match="in use by another service"):
        second.start()
    second.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Path]:
    """The folder of `bash` copied elsewhere under another name, its image removed at the end."""
    folder = tmp_path / "languages"
    shutil.copytree(bundled("runtimes") / "bash", folder / "shelly")
    yield folder
    settings = load()
    tag = docker_parts(settings, scan(str(folder))).image_tag(scan(str(folder)).by_name["shelly"])
    subprocess.run(["docker", "rmi", tag], check=False, capture_output=True)


def test_a_language_is_a_folder(shell: Path, tmp_path: Path) -> None:
    """A copied folder is a new language: no list, no code, no test has to know it."""
    own = RealService(tmp_path / "data", EXECUTOR_RUNTIMES=str(shell))
    own.folder.mkdir()
    environment = {"EXECUTOR_RUNTIMES": str(shell)}
    command = [sys.executable, "-m", "executor", "images", "build"]

    subprocess.run(command, check=True, env={**os.environ, **environment}, capture_output=True)
    own.start()
    try:
        names = [runtime["name"] for runtime in own.http.get("/api/runtimes").json()]
        assert names == ["shelly"]
        job = own.ended(own.submit("shelly", 'who="$1"\necho "hello $who"\n', {"who": "Ada"}))
        assert job["result"] == "hello Ada"
        assert job["language"] == "shelly"
    finally:
        own.close()


def test_sigterm_lets_a_running_job_end_and_keeps_the_queued_ones(own_service: RealService) -> None:
    own_service.settings["EXECUTOR_CONCURRENCY"] = "1"
    own_service.start()
    first = own_service.submit("bash", "echo up\nsleep 2\necho first\n")
    second = own_service.submit("bash", "echo second\n")
    own_service.running(first)
    own_service.signal(signal.SIGTERM)
    assert own_service.process is not None
    assert own_service.process.wait(30) == 0
    assert own_service.containers() == []
    own_service.start()
    assert own_service.job(first)["result"] == "first"
    assert own_service.ended(second)["result"] == "second"
    assert own_service.job(first)["attempt"] == 1


def test_kill_9_at_any_moment_loses_nothing(own_service: RealService) -> None:
    """Every accepted job reaches one final state after the restart; nothing is left over."""
    own_service.settings["EXECUTOR_CONCURRENCY"] = "4"
    own_service.start()
    accepted: list[str] = []
    stop = threading.Event()

    def submit() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            try:
                accepted.append(own_service.submit("bash", f"sleep 0.{n % 4}\necho {n}\n"))
            except (httpx.TransportError, AssertionError):
                time.sleep(0.05)
            time.sleep(0.03)

    submitting = threading.Thread(target=submit)
    submitting.start()
    for pause in (0.7, 1.3, 2.1):
        time.sleep(pause)
        own_service.kill()
        own_service.start()
    stop.set()
    submitting.join()
    assert len(accepted) > 20
    jobs = [own_service.ended(job_id, 180) for job_id in accepted]
    assert {job["status"] for job in jobs} == {"success"}
    assert len({job["id"] for job in jobs}) == len(accepted)
    own_service.await_no_containers(10)
