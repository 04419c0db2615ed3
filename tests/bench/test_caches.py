from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune.bench.caches import SINKS, Codes, growing_cache
from autotune.plugin import Unsupported

Windows = dict[str, torch.Tensor]


def cache_of(model: Any, kind: str, *, bits: int = 8, window: int = 4) -> Any:
    args = {"cache": kind, "cache_bits": bits, "cache_window": window}
    return growing_cache(model.config, args)


def feed(model: Any, cache: Any, *pieces: torch.Tensor) -> torch.Tensor:
    """Logits of all positions, the text cut into passes."""
    with torch.inference_mode():
        found = [model(input_ids=ids, past_key_values=cache, use_cache=True) for ids in pieces]
    return torch.cat([output.logits for output in found], dim=1)


@pytest.mark.parametrize(("bits", "steps"), [(8, 255), (4, 15), (2, 3)])
def test_codes_are_within_half_a_step_and_keep_the_extremes(bits: int, steps: int) -> None:
    states = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0))
    codes = Codes(bits)
    codes.append(states[..., :2, :])
    codes.append(states[..., 2:, :])
    found = codes.numbers(torch.float32)
    low, high = states.aminmax(dim=-1, keepdim=True)
    assert bool(((found - states).abs() <= (high - low) / steps / 2 + 1e-6).all())
    for mine, theirs in zip(found.aminmax(dim=-1), states.aminmax(dim=-1), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert codes.nbytes == 2 * 3 * 5 * (16 * bits // 8 + 2 * 4)


def test_rows_of_one_number_only_come_back() -> None:
    codes = Codes(4)
    codes.append(torch.full((1, 1, 2, 8), 3.0))
    assert torch.equal(codes.numbers(torch.float32), torch.full((1, 1, 2, 8), 3.0))


def test_heads_that_do_not_fill_bytes_are_refused() -> None:
    with pytest.raises(Unsupported, match="heads of 6 numbers cannot be packed 4 to a byte"):
        Codes(2).append(torch.randn(1, 1, 1, 6))


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_quantized_numbers_do_not_depend_on_the_passes(
    llama: Any, windows: Windows, bits: int
) -> None:
    ids = windows["input_ids"]
    whole = feed(llama, cache_of(llama, "quantized", bits=bits), ids)
    steps = feed(
        llama, cache_of(llama, "quantized", bits=bits), ids[:, :7], *ids[:, 7:].split(1, 1)
    )
    torch.testing.assert_close(whole, steps, atol=1e-4, rtol=1e-4)
    plain = feed(llama, cache_of(llama, "dynamic"), ids)
    assert not torch.allclose(whole, plain, atol=1e-6)


def test_a_sliding_cache_holds_the_first_and_the_latest_tokens(
    llama: Any, windows: Windows
) -> None:
    ids = windows["input_ids"]
    sliding, plain = cache_of(llama, "sliding", window=3), cache_of(llama, "dynamic")
    prompt = feed(llama, sliding, ids[:, :12])
    torch.testing.assert_close(prompt, feed(llama, plain, ids[:, :12]))  # read whole
    kept = sliding.layers[0].keys
    all_of_them = plain.layers[0].keys
    torch.testing.assert_close(kept[..., :SINKS, :], all_of_them[..., :SINKS, :])
    torch.testing.assert_close(kept[..., SINKS:, :], all_of_them[..., -3:, :])
    for step in ids[:, 12:].split(1, dim=1):
        feed(llama, sliding, step)
    assert sliding.layers[0].keys.shape[-2] == SINKS + 3
    assert sliding.get_seq_length() == 16


def test_a_sliding_cache_sees_what_it_holds_at_its_place(llama: Any, windows: Windows) -> None:
    """The next token's logits are those of a mask that hides what was dropped."""
    ids, dropped = windows["input_ids"][:1], slice(SINKS, 15 - 3)
    cache = cache_of(llama, "sliding", window=3)
    one = torch.nn.ModuleList([llama.model.layers[0]])
    whole, llama.model.layers = llama.model.layers, one  # deeper layers remember what they saw
    try:
        feed(llama, cache, ids[:, :15])
        found = feed(llama, cache, ids[:, 15:])
        mask = torch.ones(1, 16, dtype=torch.long)
        mask[:, dropped] = 0
        places = torch.arange(16)[None]
        with torch.inference_mode():
            expected = llama(input_ids=ids, attention_mask=mask, position_ids=places).logits[
                :, -1:
            ]
    finally:
        llama.model.layers = whole
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["quantized", "sliding"])
def test_layers_with_a_window_of_their_own_are_refused(llama: Any, kind: str) -> None:
    llama.config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(Unsupported, match="this model also has sliding_attention layers"):
        cache_of(llama, kind)
