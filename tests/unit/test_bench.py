"""What the benchmark tells of its figures; the figures themselves no test depends on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench import calls, driven, mix, page
from tests.bench.__main__ import PARTS, arguments
from tests.bench.calls import SCRIPT, Caller
from tests.bench.figures import Figures, Row, read
from tests.bench.kinds import KINDS, Kind, answers, fails
from tests.bench.plot import on_scale, times_goal

RECORDED = {
    "host": {
        "date": "2026-11-23",
        "cores": "2",
        "memory": "24 GiB",
        "engine auto": "oci with crun, docker 20.10",
    },
    "rows": [
        {"group": "one script, auto", "name": "python3", "value": 12.0, "unit": "ms", "p95": 18.0}
        | {"reference": "python3 -c", "reference_value": 16.0, "goal": "at most 1.0 x", "bound": 16.0},
        {"group": "one script, auto", "name": "a|b <c>", "value": 5.0, "unit": "ms"}
        | {"reference": "x", "reference_value": 2.0},
        {"group": "sustained, auto", "name": "bash, 16 clients", "value": 30.0, "unit": "jobs/s"}
        | {"goal": "at least 60/s", "bound": 60.0, "at_least": True},
        {"group": "peers, auto", "name": "Other 1.0, one script", "value": None, "unit": "ms"}
        | {"note": "cannot be installed here: no such version"},
        {
            "group": "mix of 16 clients, auto",
            "name": "errors",
            "value": 2,
            "unit": "",
            "note": "2 x bash: 500",
        }
        | {"goal": "none", "bound": 0},
    ],
}


@pytest.fixture
def figures(tmp_path: Path) -> Figures:
    """As a run left them."""
    path = tmp_path / "figures.json"
    path.write_text(json.dumps(RECORDED), "utf-8")
    return read(path)


def test_what_is_kept_is_read_again(figures: Figures, tmp_path: Path) -> None:
    """The file for machines says it all, and what follows from it too."""
    figures.write(tmp_path / "again.json")
    assert read(tmp_path / "again.json") == figures
    kept = json.loads((tmp_path / "again.json").read_text("utf-8"))["rows"]
    assert [row["reached"] for row in kept] == [True, None, False, None, False]
    assert [row["ratio"] for row in kept] == [0.75, 2.5, None, None, None]


def test_the_page_says_what_was_to_be_reached_and_what_was(figures: Figures) -> None:
    """Each goal once, with its verdict; the machine; what is missing, with the reason."""
    lines = page.text(figures).splitlines()
    assert "| one script, auto: python3 | at most 1.0 x | 12 ms = 0.75 x python3 -c | yes |" in lines
    assert "| sustained, auto: bash, 16 clients | at least 60/s | 30 jobs/s | no |" in lines
    assert "| mix of 16 clients, auto: errors (2 x bash: 500) | none | 2 | no |" in lines
    assert "| memory | 24 GiB |" in lines
    assert "| engine auto | oci with crun, docker 20.10 |" in lines
    (missing,) = [one for one in lines if "Other 1.0" in one]
    assert "cannot be installed here: no such version" in missing
    assert "not measured" in missing


def test_every_table_of_the_page_is_whole(figures: Figures) -> None:
    """Each line has as many cells as its heading, also where a name has a bar in it."""
    columns = 0
    for one in page.text(figures).splitlines():
        if not one.startswith("|"):
            columns = 0
            continue
        found = one.replace("\\|", "").count("|")
        columns = columns or found
        assert found == columns, one


def test_published_figures_stand_apart_with_their_source(figures: Figures) -> None:
    """Nobody takes them for measured ones."""
    measured, found, others = page.text(figures).partition("## Published by others, not measured here")
    assert found
    assert "commit 2a0a29c" in others
    assert "27.008" in others
    assert "Kestra" not in measured


def test_page_and_plot_are_written_where_the_page_looks_for_the_plot(
    figures: Figures, tmp_path: Path
) -> None:
    """The link leads to a drawing that is well-formed."""
    paths = page.write(figures, tmp_path)
    assert f"]({paths[1].name})" in paths[0].read_text("utf-8")
    drawing = ElementTree.fromstring(paths[1].read_text("utf-8"))
    shown = ["".join(text.itertext()) for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "30 jobs/s, goal 60" in shown
    assert "12 ms, 0.75 x" in shown
    assert "a|b <c>" in shown
    assert not any("Other 1.0" in one for one in shown)


def test_a_plot_of_nothing_is_a_drawing(tmp_path: Path) -> None:
    """So is a page."""
    for path in page.write(Figures({"cores": "2"}), tmp_path):
        assert path.stat().st_size > 0
    ElementTree.parse(tmp_path / "benchmarks.svg")


def test_a_bar_ends_at_the_line_where_the_goal_is_just_reached() -> None:
    """Left of it if it is reached, right of it if not, whichever way better is."""
    goal = on_scale(1)
    for at_least, better, worse in ((False, 5.0, 20.0), (True, 20.0, 5.0)):
        rows = [
            Row("g", "n", one, "ms", bound=10, at_least=at_least) for one in (better, 10.0, worse, 0.0, -1.0)
        ]
        ends = [on_scale(times_goal(row)) for row in rows]
        assert ends[0] < goal == ends[1] < ends[2]
        assert [row.reached for row in rows] == [end <= goal for end in ends]


def test_the_mix_is_measured_by_each_kinds_own_median() -> None:
    """A kind that always takes long makes no job look slow."""
    sample = mix.Sample()
    sample.times["script"] += [1.0, 1.0, 1.0, 4.0]
    sample.times["flow"] += [10.0, 10.0, 10.0]
    assert sorted(sample.multiples()) == [1, 1, 1, 1, 1, 1, 4]


def test_the_shares_of_the_mix_are_of_a_hundred() -> None:
    """And every kind has a name of its own."""
    assert sum(kind.share for kind in KINDS) == 100
    assert len({kind.name for kind in KINDS}) == len(KINDS)


class Answering(BaseHTTPRequestHandler):
    """Answers as the path says: `/…/STATUS/BODY`, or hangs up."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        _, status, body = ("", "200", "1") if self.path.endswith(SCRIPT) else self.path.rsplit("/", 2)
        if status == "gone":
            self.close_connection = True
            return
        self.send_response(int(status))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
        self.close_connection = "hangup" in self.path  # as a service does after a while, without a word

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def answering() -> Iterator[Caller]:
    """A connection to somebody who answers so."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    caller = Caller(server.server_port)
    try:
        yield caller
    finally:
        caller.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_wrong_answers_and_lost_connections_are_errors_and_no_times() -> None:
    """The next job on the same client is measured again."""
    sample = mix.Sample()
    with answering() as caller:
        for path in ("200/1", "200/2", "500/1", "gone/", "200/1"):
            mix.one(caller, Kind("k", 1, path, b"{}", answers(1)), sample)
    assert len(sample.times["k"]) == 2
    assert sample.errors.total() == 3
    assert {"k: 200 b'2'", "k: 500 b'1'"} < set(sample.errors)


def test_a_connection_that_was_idle_for_long_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service has hung up on it meanwhile; the figure is of the request, not of that."""
    with answering() as caller:
        caller.ask("hangup/200/1", b"{}")
        time.sleep(0.1)
        monkeypatch.setattr(calls, "AWAKE_S", 0.05)
        assert caller.run(b"{}") > 0


def test_a_script_that_raises_is_answered_rightly_by_its_failure_only() -> None:
    """Not by success, and not by trouble of the service's own."""
    assert fails(500, b'{"error":{"reason":"script_error"}}')
    assert not fails(200, b"1")
    assert not fails(500, b'{"error":{"reason":"infrastructure"}}')


def test_errors_and_left_things_are_counted_and_the_first_are_told() -> None:
    """All that is left is counted, some of it named."""
    figures = Figures()
    mix.nothing(figures, "g", "left over", ["a", "b", "c", "d"], 4)
    (row,) = figures.rows
    assert (row.value, row.reached, row.note) == (4, False, "a; b; c")


def test_why_a_peer_is_not_here_is_a_line_without_addresses() -> None:
    """It may be published."""
    told = driven.one_line("ERROR: nothing at https://user:word@index.example/simple/x for x==1")
    assert told == "nothing at … for x==1"


def test_a_peer_that_cannot_be_installed_is_not_here_the_next_time_either(tmp_path: Path) -> None:
    """What an installation that failed left behind is no peer."""
    with pytest.raises(driven.NotHereError, match=r"^cannot be installed here: \S"):
        driven.installed("none", ["./no-such-file.whl"], tmp_path)
    assert (tmp_path / "none" / "bin" / "python").exists()
    assert not (tmp_path / "none" / "holds").exists()


def test_the_help_tells_every_part() -> None:
    """With a word on what it measures."""
    shown = arguments().format_help()
    for name, part in PARTS.items():
        assert name in shown
        assert part.about in shown


def test_jobs_of_the_mix_are_bodies_the_service_takes() -> None:
    """Each is JSON, for the route it goes to."""
    for kind in KINDS:
        body = json.loads(kind.body)
        assert ("language" in body) == (kind.path == SCRIPT)
