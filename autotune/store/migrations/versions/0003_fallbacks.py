"""What ran otherwise than asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("autotune_trials", sa.Column("fallbacks", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("autotune_trials", "fallbacks")
