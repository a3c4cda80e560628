"""What others have published of themselves: other machines, other years; to be shown apart from what is measured."""

from __future__ import annotations

SOURCE = (
    "windmill-benchmarks, `competitors/2026-09`, commit 2a0a29c: m7i.xlarge (4 vCPU), sequential inline Python steps, "
    "median of five runs after one to warm up, times as each engine recorded them"
)
HEADS = ("engine", "40 x fibo(10), s", "10 x fibo(33), s")
ROWS = (
    ("Prefect, in one process", "0.137", "2.997"),
    ("Windmill, dedicated workers (a process is used again)", "0.393", "3.857"),
    ("Temporal, tuned", "0.76", ""),
    ("Hatchet", "1.237", "3.518"),
    ("Windmill, tuned (a process per task)", "1.594", "4.133"),
    ("Temporal, default", "2.995", "3.468"),
    ("Windmill, default (a process per task)", "3.443", "4.544"),
    ("Kestra, process runner", "3.473", "4.006"),
    ("Airflow, tuned", "9.106", "6.325"),
    ("Kestra, default (a container per task)", "27.008", "10.104"),
    ("Airflow, default", "40.453", "10.965"),
)
