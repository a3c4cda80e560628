"""a key per workspace, which signs the URLs of approvals; a job's progress"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"  # 0003 is the library's, on its way
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("progress", sa.Integer(), nullable=True))
    op.add_column("workspaces", sa.Column("key", sa.LargeBinary(), nullable=True))
    workspaces = sa.table("workspaces", sa.column("id", sa.Text()), sa.column("key", sa.LargeBinary()))
    connection = op.get_bind()
    for workspace_id in connection.execute(sa.select(workspaces.c.id)).scalars().all():
        connection.execute(
            sa.update(workspaces).where(workspaces.c.id == workspace_id).values(key=secrets.token_bytes(32))
        )
    with op.batch_alter_table("workspaces") as batch:
        batch.alter_column("key", existing_type=sa.LargeBinary(), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("workspaces") as batch:
        batch.drop_column("key")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("progress")
