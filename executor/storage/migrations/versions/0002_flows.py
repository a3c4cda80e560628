"""flow runs: their jobs' places, their journal, approvals, states, cached results"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("role", sa.Text(), server_default="script", nullable=False))
        batch.add_column(sa.Column("run_id", sa.Text(), nullable=True))
        batch.add_column(sa.Column("run_path", sa.Text(), nullable=True))
        batch.add_column(sa.Column("step_id", sa.Text(), nullable=True))
        batch.add_column(sa.Column("flow_path", sa.Text(), nullable=True))
        batch.add_column(sa.Column("script_hash", sa.Text(), nullable=True))
        batch.add_column(sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("flow_status", sa.Text(), nullable=True))
        batch.add_column(sa.Column("suspend", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("suspend_until", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("preprocessed", sa.Boolean(), server_default="0", nullable=False))
        batch.add_column(sa.Column("restarted_from", sa.Text(), nullable=True))
        batch.add_column(sa.Column("concurrency_key", sa.Text(), nullable=True))
        batch.add_column(sa.Column("concurrency_limit", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("concurrency_window_s", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("cache_key", sa.Text(), nullable=True))
        batch.add_column(sa.Column("cache_ttl_s", sa.BigInteger(), nullable=True))
        batch.drop_constraint(op.f("ck_jobs_running_has_worker"), type_="check")
        batch.create_check_constraint(
            op.f("ck_jobs_running_has_worker"),
            "(state = 'running' AND role <> 'part') = (worker_id IS NOT NULL)",
        )
        batch.create_check_constraint(op.f("ck_jobs_role_known"), "role IN ('script', 'run', 'part')")
        batch.drop_index("ix_jobs_waiting")
        batch.create_index("ix_jobs_waiting", ["state", "role", "scheduled_for", "created_at"], unique=False)
        batch.create_index("ix_jobs_run", ["run_id", "run_path"], unique=True)
        batch.create_index("ix_jobs_concurrency", ["concurrency_key", "started_at"], unique=False)
        batch.create_index("ix_jobs_parent", ["parent_job", "created_at"], unique=False)
    with op.batch_alter_table("job_args") as batch:
        batch.add_column(sa.Column("base", sa.Text(), nullable=True))
        batch.create_foreign_key(op.f("fk_job_args_base"), "jobs", ["base"], ["id"])
    with op.batch_alter_table("job_results") as batch:
        batch.add_column(sa.Column("same_as", sa.Text(), nullable=True))
        batch.alter_column("body", existing_type=sa.LargeBinary(), nullable=True)
        batch.create_foreign_key(op.f("fk_job_results_same_as"), "jobs", ["same_as"], ["id"])
        batch.create_check_constraint(
            op.f("ck_job_results_body_or_same"), "(body IS NULL) = (same_as IS NOT NULL)"
        )
    _create_tables()


def _create_tables() -> None:
    op.create_table(
        "journal",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["jobs.id"], name=op.f("fk_journal_run_id")),
        sa.PrimaryKeyConstraint("run_id", "path", name=op.f("pk_journal")),
    )
    op.create_table(
        "approvals",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("resume_id", sa.BigInteger(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("arrived_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_approvals_job_id")),
        sa.PrimaryKeyConstraint("job_id", "resume_id", name=op.f("pk_approvals")),
    )
    op.create_table(
        "flow_states",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["jobs.id"], name=op.f("fk_flow_states_run_id")),
        sa.PrimaryKeyConstraint("run_id", "key", name=op.f("pk_flow_states")),
    )
    op.create_table(
        "cached_results",
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_cached_results_job_id")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_cached_results_workspace_id")
        ),
        sa.PrimaryKeyConstraint("workspace_id", "key", name=op.f("pk_cached_results")),
    )


def downgrade() -> None:
    for table in ("cached_results", "flow_states", "approvals", "journal"):
        op.drop_table(table)
    with op.batch_alter_table("job_results") as batch:
        batch.drop_constraint(op.f("ck_job_results_body_or_same"), type_="check")
        batch.drop_constraint(op.f("fk_job_results_same_as"), type_="foreignkey")
        batch.drop_column("same_as")
        batch.alter_column("body", existing_type=sa.LargeBinary(), nullable=False)
    with op.batch_alter_table("job_args") as batch:
        batch.drop_constraint(op.f("fk_job_args_base"), type_="foreignkey")
        batch.drop_column("base")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_index("ix_jobs_parent")
        batch.drop_index("ix_jobs_concurrency")
        batch.drop_index("ix_jobs_run")
        batch.drop_index("ix_jobs_waiting")
        batch.create_index("ix_jobs_waiting", ["state", "scheduled_for", "created_at"], unique=False)
        batch.drop_constraint(op.f("ck_jobs_role_known"), type_="check")
        batch.drop_constraint(op.f("ck_jobs_running_has_worker"), type_="check")
        batch.create_check_constraint(
            op.f("ck_jobs_running_has_worker"), "(state = 'running') = (worker_id IS NOT NULL)"
        )
        for column in (
            "cache_ttl_s",
            "cache_key",
            "concurrency_window_s",
            "concurrency_limit",
            "concurrency_key",
            "restarted_from",
            "preprocessed",
            "suspend_until",
            "suspend",
            "flow_status",
            "priority",
            "script_hash",
            "flow_path",
            "step_id",
            "run_path",
            "run_id",
            "role",
        ):
            batch.drop_column(column)
