"""What scripts cost: single ones, flows of them, many at once; against references of the same run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.acceptance.service import RealService
from tests.bench import native
from tests.bench.calls import Caller, at_once, script, sustained
from tests.bench.figures import Figures, Row, summary
from tests.bench.serving import is_oci, serving

SINGLES = 40
IDLE_S = 30.0
EMPTY = {
    "python3": "def main():\n    return 1\n",
    "deno": "export async function main() { return 1 }",
    "bash": "echo 1",
    "go": "package inner\n\nfunc main() (int, error) { return 1, nil }",
}
FIBO = {
    "python3": "def fibo(n):\n    return n if n < 2 else fibo(n - 1) + fibo(n - 2)\n"
    "def main(n: int):\n    return fibo(n)\n",
    "deno": "const fibo = (n: number): number => n < 2 ? n : fibo(n - 1) + fibo(n - 2);\n"
    "export async function main(n: number) { return fibo(n) }",
    "go": "package inner\n\nfunc fibo(n int) int {\n\tif n < 2 {\n\t\treturn n\n\t}\n\treturn fibo(n-1) + fibo(n-2)\n}\n\n"
    "func main(n int) (int, error) { return fibo(n), nil }",
}
SIZES = {"1 KB": 1024, "1 MB": 1024 * 1024, "50 MB": 50 * 1024 * 1024}
IDENTITY = "def main(x):\n    return x\n"
MIX = ("bash", "python3", "deno")


def scripts(figures: Figures, engine: str, *, quick: bool) -> None:
    """Everything there is to measure of scripts on one engine."""
    with serving(figures, engine) as (service, start_s):
        figures.add(Row(f"service, {engine}", "start until ready", start_s, "s"))
        bench = Bench(figures, service, engine, quick)
        bench.singles()
        bench.flows()
        bench.rates()
        bench.burst()
        bench.sizes()


class Bench:
    """The scenarios on one running service."""

    def __init__(self, figures: Figures, service: RealService, engine: str, quick: bool) -> None:
        self.figures = figures
        self.service = service
        self.engine = engine
        self.is_oci = is_oci(figures, engine)
        self.number = 10 if quick else SINGLES
        self.seconds = 4.0 if quick else 10.0
        self.idle_s = 5.0 if quick else IDLE_S
        self.caller = Caller(service.port)

    def row(self, group: str, name: str, value: float, unit: str, **more: Any) -> None:
        """A row of this engine's."""
        self.figures.add(Row(f"{group}, {self.engine}", name, value, unit, **more))

    # ------------------------------------------------------------ one at a time

    def singles(self) -> None:
        """One script over a kept-alive connection, interleaved with what starts natively."""
        for language, reference in natives().items():
            body = script(language, EMPTY[language])
            self.caller.run(body)  # Go compiles it
            own: list[float] = []
            other: list[float] = []
            for _ in range(self.number):
                time.sleep(0.2)
                own.append(self.caller.run(body))
                other.append(reference.time())
            (middle, p95), native_s = summary(own), summary(other)[0]
            self.row(
                "one script",
                language,
                1000 * middle,
                "ms",
                p95=1000 * p95,
                reference=reference.name,
                reference_value=1000 * native_s,
                goal=reference.goal,
                bound=reference.bound_ms(1000 * native_s),
            )
        self.edited_go()

    def edited_go(self) -> None:
        """A Go script that is new each time, against a build by the go command with a warm cache."""
        toolchain = native.GoToolchain()
        own: list[float] = []
        other: list[float] = []
        for number in range(1, max(6, self.number // 4)):
            body = script("go", EMPTY["go"].replace("return 1", f"return {number}"))
            own.append(self.caller.run(body))
            other.append(toolchain.build(number))
        build_ms = 1000 * summary(other)[0]
        self.row(
            "one script",
            "go, edited",
            1000 * summary(own)[0],
            "ms",
            p95=1000 * summary(own)[1],
            reference="go build, warm",
            reference_value=build_ms,
            goal="at most 1.3 x + 15 ms",
            bound=1.3 * build_ms + 15,
        )

    # ------------------------------------------------------------ flows

    def flows(self) -> None:
        """The competitors' benchmark: many light steps, a few heavy ones; in turn, and as a loop."""
        cold = summary(
            [native.timed(*native.docker_run("python3"), native.image("python3"), "-h") for _ in range(5)]
        )
        for language in FIBO:
            self.caller.run(script(language, FIBO[language], args={"n": 1}))
            time.sleep(self.idle_s)
            spent = self.caller.flow(steps(language, 40, 10))
            more: dict[str, Any] = {}
            if language == "python3":
                more = {"reference": "40 x docker run", "reference_value": 40 * cold[0]}
                more |= {"goal": "at most 0.6 s, and 0.05 x", "bound": min(0.6, 0.05 * 40 * cold[0])}
                more["note"] = f"after {self.idle_s:.0f} s of idling"
            self.row("flow", f"40 x fibo(10), {language}", spent, "s", **more)
            self.row(
                "flow", f"40 x fibo(10), {language}, as a loop", self.caller.flow(loop(language, 40, 10)), "s"
            )
        alone = [native.timed(native.python3(), "-c", fibo_native(33)) for _ in range(3)]
        spent = self.caller.flow(steps("python3", 10, 33))
        alone += [native.timed(native.python3(), "-c", fibo_native(33)) for _ in range(3)]
        native_s = summary(alone)[0]
        self.row(
            "flow",
            "10 x fibo(33), python3",
            spent,
            "s",
            reference="10 x native",
            reference_value=10 * native_s,
        )
        overhead = 1000 * (spent / 10 - native_s)
        note = "" if overhead >= 0 else "below zero: the machine was not idle"
        self.row(
            "flow",
            "10 x fibo(33), overhead per step",
            overhead,
            "ms",
            goal="at most 40 ms",
            bound=40,
            note=note,
        )
        count = 100 if self.number < SINGLES else 400
        spent = self.caller.flow(loop("python3", count, 10))
        goal: dict[str, Any] = {"goal": "at most 25 ms", "bound": 25} if self.is_oci else {}
        self.row("flow", f"{count} x fibo(10), python3, as a loop, each", 1000 * spent / count, "ms", **goal)

    # ------------------------------------------------------------ many

    def rates(self) -> None:
        """Jobs a second, sustained."""
        goals = self.rate_goals()
        for language in ("bash", "python3"):
            body = script(language, EMPTY[language])
            for clients in (1, 4, 16, 64):
                rate, times = sustained(self.service.port, clients, body, self.seconds)
                middle, p95 = summary(times)
                goal = goals.get((language, clients), {})
                name = f"{language}, {clients} client{'s' if clients > 1 else ''}"
                self.row("sustained", name, rate, "jobs/s", **goal)
                self.row("sustained", f"{name}, each", 1000 * middle, "ms", p95=1000 * p95)
        self.cpu()

    def rate_goals(self) -> dict[tuple[str, int], dict[str, Any]]:
        """By language and clients. Docker's own speed is the measure of what can be done through it."""
        if self.is_oci:
            return {
                (language, 16): {"goal": f"at least {least}/s", "bound": least, "at_least": True}
                for language, least in (("bash", 60), ("python3", 40))
            }
        bare = native.bare_rate("bash", 16, self.seconds)
        against = {"reference": "bare containers through Docker", "reference_value": bare}
        return {("bash", 16): {**against, "goal": "at least 0.8 x", "bound": 0.8 * bare, "at_least": True}}

    def cpu(self) -> None:
        """CPU time of one bash job, of the service and of the engine's own processes."""
        engines = ("dockerd", "containerd", "containerd-shim", "runc", "crun")
        assert self.service.process is not None
        pid = self.service.process.pid
        before, service_before = native.cpu_s(*engines), process_cpu_s(pid)
        _, times = sustained(self.service.port, 4, script("bash", EMPTY["bash"]), self.seconds)
        number = max(1, len(times))
        self.row(
            "CPU per bash job",
            "service and what it starts",
            1000 * (process_cpu_s(pid) - service_before) / number,
            "ms",
        )
        self.row("CPU per bash job", "docker engine", 1000 * (native.cpu_s(*engines) - before) / number, "ms")

    def burst(self) -> None:
        """Fifty scripts of three languages at the same moment, after some idling."""
        time.sleep(self.idle_s)
        bodies = [script(MIX[number % len(MIX)], EMPTY[MIX[number % len(MIX)]]) for number in range(50)]

        def one(caller: Caller) -> None:
            caller.run(bodies.pop())

        spent = at_once(self.service.port, 50, one)
        self.row("burst", "50 scripts at once, until the last has ended", spent, "s")

    def sizes(self) -> None:
        """Arguments in, the same out."""
        for name, size in SIZES.items():
            body = json.dumps(
                {
                    "language": "python3",
                    "content": IDENTITY,
                    "args": {"x": "a" * size},
                    "limits": {"memory_mb": 1024, "result_bytes": 64 * 1024 * 1024},
                }
            ).encode()
            times = [self.caller.run(body) for _ in range(3 if size > 2**20 else 10)]
            has_goal = name == "50 MB" and self.is_oci
            goal: dict[str, Any] = {"goal": "at most 1.5 s", "bound": 1500} if has_goal else {}
            self.row("arguments and result", name, 1000 * summary(times)[0], "ms", **goal)


class Native:
    """A process on the host, without any isolation; ours may take so many times as long, or so many ms."""

    def __init__(
        self, name: str, command: list[str], *, times: float | None = None, most_ms: float | None = None
    ) -> None:
        self.name = name
        self.command = command
        self.times = times
        self.most_ms = most_ms

    @property
    def goal(self) -> str:
        """For people."""
        return f"at most {self.times} x" if self.times else f"at most {self.most_ms} ms"

    def bound_ms(self, own_ms: float) -> float | None:
        """What that comes to where this took so long."""
        return self.times * own_ms if self.times else self.most_ms

    def time(self) -> float:
        """Seconds from its start to its end."""
        return native.timed(*self.command)


def natives() -> dict[str, Native]:
    """What each language's script is held against."""
    empty = native.HERE / "empty.ts"
    empty.parent.mkdir(parents=True, exist_ok=True)
    empty.write_text("")
    return {
        "python3": Native("python3 -c", [native.python3(), "-c", "pass"], times=1.0),
        "deno": Native("deno run", [str(native.deno()), "run", "--no-config", str(empty)], times=1.0),
        "bash": Native("bash -c", ["bash", "-c", ":"], times=3),
        "go": Native("Go binary", [str(native.GoToolchain().program)], most_ms=15),
    }


def fibo_native(n: int) -> str:
    """The same program for the interpreter alone."""
    return f"{FIBO['python3']}\nprint(main({n}))"


def step(language: str, id: str, n: int) -> dict[str, Any]:
    """One step of the competitors' benchmark."""
    transforms = {"n": {"type": "static", "value": n}}
    value = {
        "type": "rawscript",
        "language": language,
        "content": FIBO[language],
        "input_transforms": transforms,
    }
    return {"id": id, "value": value}


def steps(language: str, count: int, n: int) -> dict[str, Any]:
    """So many steps in turn."""
    return {"modules": [step(language, f"s{number}", n) for number in range(count)]}


def loop(language: str, count: int, n: int) -> dict[str, Any]:
    """So many iterations of one step."""
    iterator = {"type": "static", "value": list(range(count))}
    value = {
        "type": "forloopflow",
        "iterator": iterator,
        "parallel": False,
        "modules": [step(language, "s", n)],
    }
    return {"modules": [{"id": "l", "value": {**value, "skip_failures": False}}]}


def process_cpu_s(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100
