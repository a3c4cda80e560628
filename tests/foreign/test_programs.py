"""Images as they are: whatever is in them, a job's program runs confined, bounded, and told apart from us."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executor.errors import Reason
from tests.foreign.conftest import RUNTIMES, Bench
from tests.foreign.workshop import Workshop

pytestmark = [pytest.mark.engine, pytest.mark.anyio]

BB = "/bin/busybox"


def step(image: str, *command: str, entrypoint: list[str] | None = None, more: str = "") -> str:
    """A script of language docker without a shell script."""
    lines = [f"# image: {image}", more, f"# command: {json.dumps(command)}" if command else ""]
    lines.append(f"# entrypoint: {json.dumps(entrypoint)}" if entrypoint is not None else "")
    return "\n".join(line for line in lines if line)


def sh(image: str, script: str, more: str = "") -> str:
    """A step in which busybox runs a line of shell."""
    return step(image, BB, "sh", "-c", f'PATH=/bin; bb() {{ {BB} "$@"; }}; {script}', more=more)


async def test_an_image_of_one_static_binary(bench: Bench, workshop: Workshop) -> None:
    """No libc, no shell, no /etc/passwd, no /tmp: its own command gets the arguments as they came."""
    args = {"text": "ä 😀", "list": [1, 2.5, None]}
    assert await bench.result(step(workshop.busybox), args=args) == args
    assert await bench.result(step(workshop.busybox, BB, "id", "-u")) == 65532
    assert bench.log == ""
    assert bench.isolation is not None
    assert bench.isolation.image.startswith(f"docker.io/{workshop.busybox} (sha256:")
    assert (bench.isolation.user, bench.isolation.read_only_root) == ("65532:65532", True)


async def test_big_arguments_that_nobody_reads(bench: Bench, workshop: Workshop) -> None:
    args = {"text": "x" * 20_000_000}
    assert await bench.result(step(workshop.busybox, BB, "wc", "-c"), args=args) == len(json.dumps(args))
    assert await bench.result(step(workshop.busybox, BB, "echo", "7"), args=args) == 7


async def test_the_job_s_environment_lies_over_the_image_s(bench: Bench, workshop: Workshop) -> None:
    image = workshop.from_busybox("env", "ENV OWN=image GIVEN=image HOME=/root PATH=/bin")
    said = await bench.result(sh(image, 'bb echo "$OWN|$GIVEN|$HOME|$(bb env | bb grep -c ^EXECUTOR)" >&2'))
    assert (said, bench.log) == ("", "image|by the job|/tmp|0\n")


async def test_where_it_may_write(bench: Bench, workshop: Workshop) -> None:
    """/tmp, which is $HOME, /job and /shared, in memory and bounded; nothing else."""
    found = await bench.result(
        sh(
            workshop.busybox,
            "for d in / /bin /etc /dev /executor /tmp /job /shared $HOME; do "
            '(bb touch $d/probe) 2>/dev/null && w="$w $d"; done; '
            "bb dd if=/dev/zero of=/tmp/big bs=1M count=9 2>/dev/null; "
            'bb echo "$w, $(bb stat -c %s /tmp/big)"',
        ),
        tmp_mb=2,
    )
    assert found == f" /tmp /job /shared /tmp, {2 << 20}"


async def test_everything_that_an_image_can_ask_of_an_engine_is_overruled(
    bench: Bench, workshop: Workshop
) -> None:
    """Volumes are bounded and leave nothing, health checks do not run, labels are ours, nothing is exposed."""
    image = workshop.from_busybox(
        "asking",
        "EXPOSE 80",
        "STOPSIGNAL SIGUSR1",
        "HEALTHCHECK --interval=1s CMD /bin/busybox touch /data/healthy",
        "LABEL executor=somebody executor.worker=nobody executor.role=holder",
        'ONBUILD RUN ["/bin/busybox", "false"]',
        "WORKDIR /srv/app",
        'ENTRYPOINT ["/bin/busybox", "sh", "-c"]',
        'CMD ["true"]',
        # Last, because the steps of a build that come after volumes make some, and may leave them.
        'VOLUME ["/data", "/tmp", "/tmp/deep", "/executor/in", "/executor/other", "/srv/../var/lib"]',
    )
    seen: dict[str, Any] = {}
    bench.looked = seen.update
    found = await bench.result(
        step(
            image,
            "B=/bin/busybox; $B pwd >&2; for d in /data /tmp/deep /var/lib; do $B touch $d/a && "
            "$B echo $($B df -m $d | $B awk 'END {print $2}'); done >&2; $B sleep 1.5; $B ls /data",
        ),
        tmp_mb=3,
    )
    assert (found, bench.log) == ("a", "/srv/app\n3\n3\n3\n")
    labels = seen["Config"]["Labels"]
    assert (labels["executor"], labels["executor.worker"], labels["executor.role"]) == (
        bench.instance,
        "test",
        "job",
    )
    assert len(seen["Mounts"]) == 2
    assert "Health" not in seen["State"]
    assert seen["HostConfig"]["NetworkMode"] == "none"


async def test_only_this_many_volumes(bench: Bench, workshop: Workshop) -> None:
    image = workshop.from_busybox("volumes", f"VOLUME {json.dumps([f'/v{n}' for n in range(17)])}")
    failed = await bench.failure(step(image))
    assert (failed.reason, "it has 17 volumes, over 16" in failed.message) == (Reason.BAD_INPUT, True)


async def test_the_image_s_root_has_no_power(bench: Bench, workshop: Workshop) -> None:
    """Uid 0 without capabilities: it writes where others may, sees nothing of process 1, mounts nothing."""
    script = (
        "bb id -u; bb awk '/^Cap(Eff|Prm|Bnd|Amb)/ && !/0000000000000000/' /proc/self/status; "
        "for d in /tmp /job /shared; do bb touch $d/a || bb echo no $d; done; "
        "bb touch /a 2>/dev/null && bb echo root; bb mount -t tmpfs x /mnt 2>/dev/null && bb echo mounted; "
        "(bb echo forged > /proc/1/fd/1) 2>/dev/null && bb echo wrote; bb readlink /proc/1/fd/1; bb cat /proc/1/environ /proc/1/mem 2>/dev/null; bb chown 5 /tmp/a 2>/dev/null && bb echo chown; "
        "bb kill -9 1; bb echo alive"
    )
    assert await bench.result(sh(workshop.busybox, f"({script}) >&2; bb echo 1", "# user: image")) == 1
    assert bench.log == "0\nalive\n"
    assert bench.isolation is not None
    assert (bench.isolation.user, bench.isolation.capabilities) == ("0:0", ())


async def test_the_image_s_user_by_name(bench: Bench, workshop: Workshop) -> None:
    image = workshop.from_busybox(
        "user",
        'RUN ["/bin/busybox", "sh", "-c", "/bin/busybox mkdir /etc; '
        'echo web:x:1234:1235::/:/x > /etc/passwd; echo web:x:1235: > /etc/group"]',
        "USER web",
    )
    assert await bench.result(sh(image, 'bb echo "$(bb id -u):$(bb id -g)"', "# user: image")) == "1234:1235"
    assert await bench.result(sh(image, "bb id -u")) == 65532
    nobody = workshop.from_busybox("nobody", "USER nobody-knows")
    failed = await bench.failure(sh(nobody, "bb id -u", "# user: image"))
    assert failed.reason is Reason.BAD_INPUT
    assert "unable to find user nobody-knows" in failed.message


async def test_a_writable_root_is_bounded_or_refused(bench: Bench, workshop: Workshop) -> None:
    script = sh(
        workshop.busybox, "bb dd if=/dev/zero of=/big bs=1M count=50; bb stat -c %s /big", "# writable: true"
    )
    info = await bench.parts.engine.info()
    if info.bounds_root:
        assert await bench.result(script, tmp_mb=20) <= 20 << 20
        return
    failed = await bench.failure(script)
    assert failed.reason is Reason.BAD_INPUT
    assert (
        f"`# writable: true` cannot be had: the engine (docker, {info.storage}) cannot bound a root"
        in failed.message
    )


@pytest.mark.parametrize(
    ("lines", "command", "reason", "says"),
    [
        (["CMD []"], [], Reason.BAD_INPUT, "neither an entrypoint nor a command"),
        (
            [],
            ["/no/program"],
            Reason.SCRIPT_ERROR,
            'cannot start the program: exec: "/no/program": stat /no/program: no such file',
        ),
        ([], ["program"], Reason.SCRIPT_ERROR, '"program": executable file not found in $PATH'),
        (
            ["WORKDIR /etc/x", 'RUN ["/bin/busybox", "chmod", "700", "/etc/x"]'],
            [BB],
            Reason.SCRIPT_ERROR,
            "permission",
        ),
        (['RUN ["/bin/busybox", "touch", "/job"]'], [BB, "true"], Reason.BAD_INPUT, "cannot run this script"),
    ],
)
async def test_what_cannot_start_says_why(
    bench: Bench, workshop: Workshop, lines: list[str], command: list[str], reason: Reason, says: str
) -> None:
    """It is the script's failure, told at once, and never tried again."""
    image = workshop.from_busybox(f"wrong-{len(lines)}-{len(command)}-{reason.value}", *lines)
    failed = await bench.failure(step(image, *command))
    assert failed.reason is reason, failed
    assert says in failed.message


async def test_a_shell_script_needs_a_shell(bench: Bench, workshop: Workshop) -> None:
    failed = await bench.failure(f"# image: {workshop.busybox}\necho hello")
    assert (failed.reason, failed.exit_code) == (Reason.SCRIPT_ERROR, 127)
    assert "/bin/sh" in failed.message
    image = workshop.from_busybox("sh", 'RUN ["/bin/busybox", "ln", "-s", "/bin/busybox", "/bin/sh"]')
    script = f'# image: {image}\n# command: ["a b"]\nset -e\nB={BB}\n$B pwd >&2\n$B ls >&2\necho "$0 $1"'
    assert await bench.result(script) == "./main.sh a b"
    assert bench.log == "/job\nargs.json\nmain.sh\nshared\n"


@pytest.mark.parametrize(
    ("script", "limits", "reason"),
    [
        ("bb sleep 60", {"timeout_s": 1}, Reason.TIMEOUT),
        ("bb tail /dev/zero", {"memory_mb": 32}, Reason.OUT_OF_MEMORY),
        ("bb yes >&2", {"log_bytes": 1000}, Reason.OUTPUT_LIMIT),
        ("bb yes", {"result_bytes": 1000}, Reason.RESULT_TOO_LARGE),
        ("f() { f & f; }; f; bb sleep 1; bb false", {"pids": 20, "timeout_s": 5}, Reason.SCRIPT_ERROR),
    ],
)
async def test_limits_hold_in_any_image(
    bench: Bench, workshop: Workshop, script: str, limits: dict[str, Any], reason: Reason
) -> None:
    failed = await bench.failure(sh(workshop.busybox, script), **limits)
    assert failed.reason is reason, failed


async def test_a_sandbox_image_may_lack_the_interpreter(bench: Bench, workshop: Workshop) -> None:
    """Or have one in which nothing runs: either is told, and is the script's failure."""
    for language, mark, program in (
        ("python3", "#", "python3"),
        ("bash", "#", "bash"),
        ("deno", "//", "deno"),
    ):
        failed = await bench.failure(f"{mark} sandbox {workshop.busybox}\n", language)
        assert failed.reason is Reason.BAD_INPUT
        assert f'"{program}": executable file not found in $PATH' in failed.message
        assert workshop.busybox in failed.message
    broken = workshop.from_busybox(
        "broken", 'RUN ["/bin/busybox", "ln", "-s", "/bin/busybox", "/bin/python3"]', "ENV PATH=/bin"
    )
    failed = await bench.failure(f"# sandbox {broken}\ndef main(): pass", "python3")
    assert failed.reason is Reason.BAD_INPUT
    assert "the runner ended before a job came: exit code 127" in failed.message


async def test_tools_are_taken_out_once_and_mended(bench: Bench, workshop: Workshop) -> None:
    """One folder per image of ours; a file that was changed is not used."""
    assert await bench.result(step(workshop.busybox, BB, "echo", "1")) == 1
    (place,) = (bench.folder / "tools").iterdir()
    made = place.stat().st_ino
    bench.set()
    assert await bench.result(step(workshop.busybox, BB, "echo", "2")) == 2
    assert place.stat().st_ino == made
    (place / "jobinit").unlink()
    (place / "jobinit").write_bytes(b"#!/bin/busybox false\n")
    bench.set()
    assert await bench.result(step(workshop.busybox, BB, "echo", "3")) == 3
    assert place.stat().st_ino != made


async def test_a_language_s_own_protocol_in_a_foreign_image(bench: Bench, workshop: Workshop) -> None:
    """A plain distribution with the interpreters, and nothing of ours: arguments, results, errors, log, limits."""
    image = workshop.build(
        "interpreters",
        "ARG BUILDER\nARG DENO\nFROM ${DENO} AS deno\nFROM ${BUILDER}\n"
        "COPY --from=deno /usr/local/bin/deno /usr/local/bin/deno\nRUN test ! -e /executor\nVOLUME /data\n",
        DENO=await bench.sandbox.image_of(RUNTIMES.by_name["deno"]),
    )
    python = f"# sandbox {image}\nimport os\n\ndef main(n: int):\n    print('n is', n)\n"
    assert await bench.result(
        f"{python}    return [n + 1, os.environ['GIVEN']]", "python3", args={"n": 1}
    ) == [
        2,
        "by the job",
    ]
    assert bench.log == "n is 1\n"
    failed = await bench.failure(f"{python}    raise KeyError(n)", "python3", args={"n": 1})
    assert (failed.name, failed.message, failed.reason) == ("KeyError", "1", Reason.SCRIPT_ERROR)
    failed = await bench.failure(
        f"{python}    os.write(3, b'x' * 9000)", "python3", args={"n": 1}, result_bytes=1000
    )
    assert failed.reason is Reason.RESULT_TOO_LARGE
    failed = await bench.failure(f"{python}    bytearray(1 << 30)", "python3", args={"n": 1}, memory_mb=64)
    assert failed.reason is Reason.OUT_OF_MEMORY
    deno = f"// sandbox {image}\nexport async function main(a: string, b = 2) {{\n  return [a, b];\n}}"
    assert await bench.result(deno, "deno", args={"a": "x"}) == ["x", 2]
    bash = f'# sandbox {image}\nwho="$1"\necho "hello $who"\nexit ${{#who}}'
    assert await bench.result(bash, "bash", args={"who": ""}) == "hello"
    failed = await bench.failure(bash, "bash", args={"who": "Ada"})
    assert (failed.exit_code, failed.message) == (
        3,
        'exit code for "bash run": 3, last log lines:\nhello Ada',
    )
    failed = await bench.failure(f"# sandbox {image}\nsleep 60", "bash", timeout_s=1)
    assert failed.reason is Reason.TIMEOUT
