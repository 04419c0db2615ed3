"""The model card that a demo model carries."""

from __future__ import annotations

from autotune.demo.blueprint import BLUEPRINTS, DemoModelReport

_TEMPLATE = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# autotune demo model, {size}

A Llama-architecture causal language model of {parameters:,} parameters, trained from scratch by
`autotune demo-model` in {train_seconds:.0f} s. It exists so that every measurement of autotune can
be tried without downloading anything. It knows how Python source, docstrings and short English
text tend to continue. It knows no facts and is of no use for anything else.

| shape | |
|---|---|
| vocabulary | {vocabulary_size} byte-level BPE tokens |
| hidden, layers, feed-forward | {hidden_size}, {layers}, {feed_forward_size} |
| heads, key-value heads | {heads}, {key_value_heads} |
| weights | float32, input and output embeddings tied |

| held-out text | perplexity | unigram perplexity | bits per byte |
|---|---|---|---|
| autotune's evaluation text | {heldout_perplexity:.1f} | {unigram_perplexity:.1f} | \
{bits_per_byte:.2f} |
| standard library files | {stdlib_perplexity:.1f} | {stdlib_unigram_perplexity:.1f} | \
{stdlib_bits_per_byte:.2f} |

The unigram model knows only how often each token occurs in the training text (add-one smoothing).
Perplexities are over the same tokens, in windows of 256, and compare only within this tokenizer.

Training text: source files and docstrings of the standard library of the Python that trained it,
the language reference in its `pydoc`, and autotune's own `training.txt`. One source file in twenty
was held out by name. {steps} steps of 2,048 tokens, seed {seed}, {dtype} matrix products; Muon on
the hidden matrices, AdamW on the rest. The schedule follows the wall clock, so another run of the
same seed ends near these figures and not on them.
"""


def render(report: DemoModelReport) -> str:
    """Words the card of a trained model."""
    return _TEMPLATE.format(**vars(report), **vars(BLUEPRINTS[report.size]))
