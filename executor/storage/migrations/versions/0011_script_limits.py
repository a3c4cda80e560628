"""how many jobs of a stored script run at once"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("scripts", sa.Column("concurrent_limit", sa.Integer))
    op.add_column("scripts", sa.Column("concurrency_window_s", sa.Float))
    op.add_column("scripts", sa.Column("concurrency_key", sa.Text))


def downgrade() -> None:
    for name in ("concurrency_key", "concurrency_window_s", "concurrent_limit"):
        op.drop_column("scripts", name)
