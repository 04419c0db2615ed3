"""Metrics of accuracy: what a recipe's outputs are against the baseline's."""

from __future__ import annotations

from autotune.metrics.kinds import CLASSIFIES, DOWN, GENERATES, UP, Family, Metric

ACCURACY_METRICS = (
    Metric(
        "kld_mean_nats",
        "nat",
        DOWN,
        Family.ACCURACY,
        "mean over positions of sum_v p_ref(v)*(log p_ref(v) - log p(v)), teacher-forced, "
        "log-softmax in float32",
        "KLD",
        "Kullback-Leibler divergence of the next-token probabilities from the baseline's; 0: same",
        resolution=1e-4,
        tasks=CLASSIFIES,
    ),
    Metric(
        "kld_self_floor_nats",
        "nat",
        DOWN,
        Family.ACCURACY,
        "kld_mean_nats of the baseline's model against itself, scored in batches of another size; "
        "measured with the baseline",
        "KLD floor",
        "how much of a divergence is only the order of additions; a KLD whose interval does not "
        "reach above it is a tie with the baseline",
        tasks=CLASSIFIES,
        is_goal=False,
    ),
    Metric(
        "top1_agreement_ratio",
        "ratio",
        UP,
        Family.ACCURACY,
        "share of positions whose most likely token (or class) is the baseline's",
        "top-1 agreement",
        tasks=CLASSIFIES,
    ),
    Metric(
        "nll_delta_nats",
        "nat",
        DOWN,
        Family.ACCURACY,
        "mean over positions of NLL - NLL of the baseline, paired",
        "NLL delta",
        tasks=GENERATES,
        is_signed=True,
    ),
    Metric(
        "perplexity",
        "ratio",
        DOWN,
        Family.ACCURACY,
        "exp(mean negative log-likelihood of the next token on held-out text)",
        "perplexity",
        tasks=GENERATES,
    ),
    Metric(
        "perplexity_ratio",
        "ratio",
        DOWN,
        Family.ACCURACY,
        "perplexity / the baseline's = exp(nll_delta_nats)",
        "perplexity ratio",
        tasks=GENERATES,
    ),
    Metric(
        "embedding_cosine_distance",
        "ratio",
        DOWN,
        Family.ACCURACY,
        "mean over texts of 1 - cosine(embedding, the baseline's); embeddings are the mean of "
        "the last hidden states over real tokens (encoders)",
        "embedding distance",
        resolution=1e-5,
        tasks=("feature-extraction",),
    ),
    Metric(
        "task_accuracy",
        "ratio",
        UP,
        Family.ACCURACY,
        "items of all task files that are right / items, with the Wilson interval",
        "task accuracy",
        tasks=CLASSIFIES,
        is_goal=False,
    ),
    Metric(
        "task_accuracy_delta",
        "ratio",
        UP,
        Family.ACCURACY,
        "(items gained - items lost against the baseline) / items, paired, with Tango's score "
        "interval (Stat. Med. 17:891, 1998)",
        "task accuracy delta",
        "called within 1 % only if the whole interval lies within 0.01",
        tasks=CLASSIFIES,
        is_goal=False,
        is_signed=True,
    ),
    Metric(
        "task_flip_ratio",
        "ratio",
        DOWN,
        Family.ACCURACY,
        "(items gained + items lost against the baseline) / items, with the Wilson interval",
        "task flips",
        "share of items whose correctness changed",
        tasks=CLASSIFIES,
        is_goal=False,
    ),
)
