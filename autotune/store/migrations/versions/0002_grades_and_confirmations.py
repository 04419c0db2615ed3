"""Grades, contention, and repetitions in fresh processes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("autotune_measurements", sa.Column("grade", sa.String(255), nullable=True))
    op.add_column("autotune_trials", sa.Column("contention", sa.JSON(), nullable=True))
    op.create_table(
        "autotune_confirmations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("confirmation", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["autotune_trials.id"],
            name=op.f("fk_autotune_confirmations_trial_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_autotune_confirmations")),
        sa.UniqueConstraint(
            "trial_id",
            "confirmation",
            name=op.f("uq_autotune_confirmations_trial_id_confirmation"),
        ),
    )


def downgrade() -> None:
    op.drop_table("autotune_confirmations")
    op.drop_column("autotune_trials", "contention")
    op.drop_column("autotune_measurements", "grade")
