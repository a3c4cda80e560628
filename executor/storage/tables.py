"""The tables, and the invariants the database itself keeps.

Times are whole microseconds since 1970, UTC. JSON that is only passed on is stored as the bytes it
came as. `migrations/` leads an existing database here; a test compares the two.
"""

from __future__ import annotations

import secrets

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    text,
)

KEY_BYTES = 32


def new_key() -> bytes:
    """A key nobody can guess, for signatures."""
    return secrets.token_bytes(KEY_BYTES)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("policy", Text, nullable=False),  # JSON: {networks, images, limits, concurrency}
    Column("created_at", BigInteger, nullable=False),
    Column("key", LargeBinary, nullable=False, default=new_key),  # signs the URLs of approvals
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False),
    # queued -- claim --> running -- finish --> completed; running -- its worker died --> queued
    Column("state", Text, nullable=False),
    Column("status", Text),  # success | failure | canceled | skipped, once completed
    Column("kind", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("path", Text),
    Column("tag", Text, nullable=False),
    Column("lock", Text),
    Column("limits", Text, nullable=False),  # JSON, complete
    Column("request_hash", Text, nullable=False),  # tells a repeated submit from another one
    Column("parent_job", Text),
    Column("root_job", Text),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("scheduled_for", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    # The lease: which worker runs it, in which container, for the how-many-th time.
    Column("worker_id", Text),
    Column("container", Text),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("canceled_by", Text),
    Column("canceled_reason", Text),
    Column("reason", Text),  # of a failure
    Column("labels", Text),  # JSON array of strings
    Column("memory_peak_bytes", BigInteger),
    Column("cpu_ms", BigInteger),
    Column("isolation", Text),  # JSON: how it was isolated
    # script: has a lease and a container; run: a flow run, has a lease; part: a flow job inside a run.
    Column("role", Text, nullable=False, server_default="script"),
    Column("run_id", Text),  # the flow run that it is part of, or is
    Column("run_path", Text),  # its place in the run, the same in every walk
    Column("step_id", Text),
    Column("flow_path", Text),  # of the flow that it is a step of
    Column("script_hash", Text),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("flow_status", Text),  # JSON; of a flow job that is not being walked
    Column("suspend", Integer, nullable=False, server_default="0"),  # events that are missing
    Column("suspend_until", BigInteger),
    Column("preprocessed", Boolean, nullable=False, server_default="0"),
    Column("restarted_from", Text),  # JSON: {flow_job_id, step_id, branch_or_iteration_n}
    # At most `concurrency_limit` jobs of one key at once, or starts in `concurrency_window_s` seconds.
    Column("concurrency_key", Text),
    Column("concurrency_limit", Integer),
    Column("concurrency_window_s", BigInteger),
    Column("shared", Boolean, nullable=False, server_default="0"),  # it gets the run's directory
    Column("cache_key", Text),  # of a script whose result may be used again
    Column("cache_ttl_s", BigInteger),
    Column("deleted", Boolean, nullable=False, server_default="0"),
    Column("progress", Integer),  # percent, as the script says
    Column("secrets", Text),  # JSON: references to secrets that expressions of its run had read before
    CheckConstraint("state IN ('queued', 'running', 'completed')", name="state_known"),
    CheckConstraint("(state = 'completed') = (status IS NOT NULL)", name="completed_has_status"),
    CheckConstraint("(state = 'completed') = (completed_at IS NOT NULL)", name="completed_has_end"),
    CheckConstraint("role IN ('script', 'run', 'part')", name="role_known"),
    CheckConstraint(
        "(state = 'running' AND role <> 'part') = (worker_id IS NOT NULL)", name="running_has_worker"
    ),
)
# What waits, in the order it is taken.
Index("ix_jobs_waiting", jobs.c.state, jobs.c.role, jobs.c.scheduled_for, jobs.c.created_at)
# The next job of a workspace: the one that is to start, and when the first is due.
Index(
    "ix_jobs_next",
    jobs.c.workspace_id,
    jobs.c.role,
    jobs.c.priority.desc(),
    jobs.c.scheduled_for,
    jobs.c.created_at,
    sqlite_where=text("state = 'queued'"),
    postgresql_where=text("state = 'queued'"),
)
Index("ix_jobs_turn", jobs.c.workspace_id, jobs.c.state, jobs.c.role, jobs.c.scheduled_for)
# The jobs of a run; two walks of it can never make one twice.
Index("ix_jobs_run", jobs.c.run_id, jobs.c.run_path, unique=True)
# How many jobs of a key count.
Index(
    "ix_jobs_key",
    jobs.c.workspace_id,
    jobs.c.concurrency_key,
    jobs.c.state,
    jobs.c.started_at,
    sqlite_where=jobs.c.concurrency_key.is_not(None),
    postgresql_where=jobs.c.concurrency_key.is_not(None),
)
# Which keys jobs wait for.
Index(
    "ix_jobs_limited",
    jobs.c.workspace_id,
    jobs.c.state,
    jobs.c.role,
    jobs.c.concurrency_key,
    jobs.c.started_at,
    jobs.c.scheduled_for,
    jobs.c.concurrency_limit,
    jobs.c.concurrency_window_s,
    sqlite_where=jobs.c.concurrency_key.is_not(None),
    postgresql_where=jobs.c.concurrency_key.is_not(None),
)
# The children of a flow job.
Index("ix_jobs_parent", jobs.c.parent_job, jobs.c.created_at)
# Listings of a workspace, newest first.
Index("ix_jobs_listing", jobs.c.workspace_id, jobs.c.created_at)

job_args = Table(
    "job_args",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column(
        "base", Text, ForeignKey("jobs.id")
    ),  # whose args are these too, where `body` has none of the name
)

job_results = Table(
    "job_results",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("body", LargeBinary),
    Column("same_as", Text, ForeignKey("jobs.id")),  # the job that has this very result, a big one
    CheckConstraint("(body IS NULL) = (same_as IS NOT NULL)", name="body_or_same"),
)

# Logs and result streams arrive in pieces; `position` counts characters from the beginning.
job_output = Table(
    "job_output",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("kind", Text, nullable=False),  # log | stream
    Column("position", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("job_id", "kind", "position"),
    CheckConstraint("kind IN ('log', 'stream')", name="kind_known"),
)

# What a walk decided, by place in the run; walked again, it decides the same.
journal = Table(
    "journal",
    metadata,
    Column("run_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "path"),
)

# Approvals and disapprovals, in the order they came.
approvals = Table(
    "approvals",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),  # the gated step's job
    Column("resume_id", BigInteger, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("approver", Text),
    Column("payload", LargeBinary, nullable=False),
    Column("arrived_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("job_id", "resume_id"),
)

# Values that a flow's scripts keep under the run.
flow_states = Table(
    "flow_states",
    metadata,
    Column("run_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "key"),
)

# Results that a script with `cache_ttl` need not compute again.
cached_results = Table(
    "cached_results",
    metadata,
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "key"),
)

# Scripts by version; `hash` names one. The newest at a path is the one that is not archived.
scripts = Table(
    "scripts",
    metadata,
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False),
    Column("hash", Text, nullable=False),  # 16 hexadecimal digits
    Column("path", Text, nullable=False),
    Column("parent_hash", Text),  # the version it replaced
    Column("archived", Boolean, nullable=False, server_default="0"),
    Column("summary", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("schema", Text),  # JSON Schema of the arguments
    Column("lock", Text),
    Column("tag", Text),
    Column("priority", Integer),
    Column("cache_ttl_s", Float),
    Column("timeout_s", Float),
    Column("concurrent_limit", Integer),
    Column("concurrency_window_s", Float),
    Column("concurrency_key", Text),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "hash"),
)
_CURRENT = scripts.c.archived == false()
# At most one version at a path is current.
Index(
    "ix_scripts_current",
    scripts.c.workspace_id,
    scripts.c.path,
    unique=True,
    sqlite_where=_CURRENT,
    postgresql_where=_CURRENT,
)

# Flows by version, 1 and up; the highest at a path is the one that runs.
flows = Table(
    "flows",
    metadata,
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("summary", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("value", Text, nullable=False),  # JSON: the OpenFlow document, with ids
    Column("schema", Text),  # JSON Schema of the input
    Column("tag", Text),
    Column("edited_by", Text, nullable=False),
    Column("edited_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "path", "version"),
)

variables = Table(
    "variables",
    metadata,
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("value", Text, nullable=False),  # of a secret: encrypted
    Column("is_secret", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    Column("edited_by", Text, nullable=False),
    Column("edited_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "path"),
)

resources = Table(
    "resources",
    metadata,
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),  # JSON
    Column("resource_type", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("edited_by", Text, nullable=False),
    Column("edited_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("workspace_id", "path"),
)

# Who may call; see executor/workspace/tokens.py.
tokens = Table(
    "tokens",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the token, hexadecimal
    Column("prefix", Text, nullable=False, unique=True),  # the token's beginning, by which it is called
    Column("user", Text, nullable=False),
    Column("right", Text, nullable=False),  # read, run, admin
    Column("workspaces", Text),  # JSON: ids; NULL: the whole instance
    Column("label", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
)

# Who did what; see executor/workspace/audit.py.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("user", Text, nullable=False),
    Column("token_prefix", Text, nullable=False),
    Column("workspace_id", Text),
    Column("operation", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("client", Text, nullable=False),
)
