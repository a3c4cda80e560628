"""which job starts next, and how many of its key count, found without reading all others"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NEXT = ["workspace_id", "role", sa.text("priority DESC"), "scheduled_for", "created_at"]
QUEUED = sa.text("state = 'queued'")
KEYED = sa.text("concurrency_key IS NOT NULL")
COUNTED = ["workspace_id", "concurrency_key", "state", "started_at"]
LIMITED = [
    "workspace_id",
    "state",
    "role",
    "concurrency_key",
    "started_at",
    "scheduled_for",
    "concurrency_limit",
    "concurrency_window_s",
]


def upgrade() -> None:
    op.create_index("ix_jobs_next", "jobs", NEXT, sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.drop_index("ix_jobs_concurrency", table_name="jobs")
    op.create_index("ix_jobs_key", "jobs", COUNTED, sqlite_where=KEYED, postgresql_where=KEYED)
    op.create_index("ix_jobs_limited", "jobs", LIMITED, sqlite_where=KEYED, postgresql_where=KEYED)


def downgrade() -> None:
    op.drop_index("ix_jobs_limited", table_name="jobs")
    op.drop_index("ix_jobs_key", table_name="jobs")
    op.create_index("ix_jobs_concurrency", "jobs", ["concurrency_key", "started_at"])
    op.drop_index("ix_jobs_next", table_name="jobs")
