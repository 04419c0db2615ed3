"""Trials on their way to workers."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    database = op.create_table(
        "autotune_database",
        sa.Column("identity", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("identity", name=op.f("pk_autotune_database")),
    )
    op.bulk_insert(database, [{"identity": uuid.uuid4().hex}])
    op.create_table(
        "autotune_jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=255), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("beats", sa.Integer(), nullable=False),
        sa.Column("refused", sa.JSON(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["autotune_studies.id"],
            name=op.f("fk_autotune_jobs_study_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_autotune_jobs")),
        sa.UniqueConstraint(
            "study_id", "number", "run", name=op.f("uq_autotune_jobs_study_id_number_run")
        ),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("autotune_jobs")
    op.drop_table("autotune_database")
