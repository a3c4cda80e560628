"""which workspace has the next turn"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_turn", "jobs", ["workspace_id", "state", "role", "scheduled_for"])


def downgrade() -> None:
    op.drop_index("ix_jobs_turn", table_name="jobs")
