"""a policy without networks means the instance's; until now it was stored as an empty list"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

workspaces = sa.table("workspaces", sa.column("id", sa.Text), sa.column("policy", sa.Text))


def upgrade() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(workspaces)).all():
        policy = json.loads(row.policy)
        if policy.get("networks") == []:
            del policy["networks"]
            here = workspaces.c.id == row.id
            connection.execute(workspaces.update().where(here).values(policy=json.dumps(policy)))
