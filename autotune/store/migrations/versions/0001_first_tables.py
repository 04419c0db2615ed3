"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "autotune_accuracy",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_fingerprint", sa.String(length=255), nullable=False),
        sa.Column("output_key", sa.String(length=255), nullable=False),
        sa.Column("evaluation_key", sa.String(length=255), nullable=False),
        sa.Column("environment_key", sa.String(length=255), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_autotune_accuracy")),
        sa.UniqueConstraint(
            "model_fingerprint",
            "output_key",
            "evaluation_key",
            "environment_key",
            name=op.f("uq_autotune_accuracy_key"),
        ),
    )
    op.create_table(
        "autotune_studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=255), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("definition_sha256", sa.String(length=255), nullable=False),
        sa.Column("objectives", sa.JSON(), nullable=False),
        sa.Column("constraints", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("convergence_reason", sa.Text(), nullable=False),
        sa.Column("front", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_autotune_studies")),
        sa.UniqueConstraint("name", name=op.f("uq_autotune_studies_name")),
    )
    op.create_table(
        "autotune_trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=255), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("recipe_key", sa.String(length=255), nullable=False),
        sa.Column("setup_key", sa.String(length=255), nullable=False),
        sa.Column("output_key", sa.String(length=255), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=255), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("phase_seconds", sa.JSON(), nullable=True),
        sa.Column("notes", sa.JSON(), nullable=True),
        sa.Column("warm", sa.Boolean(), nullable=True),
        sa.Column("accuracy_reused", sa.Boolean(), nullable=True),
        sa.Column("log", sa.Text(), nullable=True),
        sa.Column("environment", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["autotune_studies.id"],
            name=op.f("fk_autotune_trials_study_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_autotune_trials")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_autotune_trials_study_id_number")),
        sa.UniqueConstraint(
            "study_id", "recipe_key", name=op.f("uq_autotune_trials_study_id_recipe_key")
        ),
    )
    op.create_table(
        "autotune_blocks",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("pairs", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["autotune_trials.id"],
            name=op.f("fk_autotune_blocks_trial_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_autotune_blocks")),
    )
    op.create_table(
        "autotune_measurements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("unit", sa.String(length=255), nullable=False),
        sa.Column("stat", sa.String(length=255), nullable=False),
        sa.Column("ci_low", sa.Double(), nullable=True),
        sa.Column("ci_high", sa.Double(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("converged", sa.Boolean(), nullable=False),
        sa.Column("ratio", sa.Double(), nullable=True),
        sa.Column("ratio_ci_low", sa.Double(), nullable=True),
        sa.Column("ratio_ci_high", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["autotune_trials.id"],
            name=op.f("fk_autotune_measurements_trial_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_autotune_measurements")),
        sa.UniqueConstraint(
            "trial_id", "metric", name=op.f("uq_autotune_measurements_trial_id_metric")
        ),
    )


def downgrade() -> None:
    op.drop_table("autotune_measurements")
    op.drop_table("autotune_blocks")
    op.drop_table("autotune_trials")
    op.drop_table("autotune_studies")
    op.drop_table("autotune_accuracy")
