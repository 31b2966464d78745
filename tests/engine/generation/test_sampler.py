"""Draws are those of dllama's loops, spelled out here one number at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.errors import RequestError
from dllama_engine.generation.sampler import LogitsError, Sampler, Xorshift

F = np.float32


class PlainXorshift:
    """The generator as FORMATS spells it, in 64-bit arithmetic that wraps by itself."""

    def __init__(self, seed):
        self.state = np.uint64(seed)

    def coin(self):
        with np.errstate(over="ignore"):
            self.state ^= self.state >> np.uint64(12)
            self.state ^= self.state << np.uint64(25)
            self.state ^= self.state >> np.uint64(27)
            drawn = (self.state * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)
        return F(int(drawn) >> 8) / F(16777216)


def draw_plainly(logits, temperature, topp, coin):
    """Softmax and the cumulative loops of FORMATS, f32 after every operation."""
    scaled = [F(x) / F(temperature) for x in logits]
    exps = np.exp(np.array(scaled, F) - max(scaled))
    total = F(0)
    for x in exps:
        total += x
    probs = [x / total for x in exps]
    if not 0 < topp < 1:
        return walk(range(len(probs)), probs, coin)
    cutoff = (F(1) - F(topp)) / F(len(probs) - 1)
    ids = sorted((i for i, p in enumerate(probs) if p >= cutoff), key=lambda i: -probs[i])
    if not ids:  # dllama reads past its array here
        return int(np.argmax(probs))
    mass, kept = F(0), []
    for i in ids:
        mass += probs[i]
        kept.append(i)
        if mass > F(topp):
            break
    return walk(kept, probs, coin * mass)


def walk(ids, probs, mark):
    mass = F(0)
    for i in ids:
        mass += probs[i]
        if mark < mass:
            return i
    return list(ids)[-1]


@pytest.mark.parametrize("seed", [1, 42, 0, 2**64 - 1, 12345678901234567890])
def test_generator_is_xorshift_star(seed):
    plain, ours = PlainXorshift(seed), Xorshift(seed)
    assert [ours.next_f32() for _ in range(100)] == [plain.coin() for _ in range(100)]


def test_generator_by_hand():
    # seed 1: 1 ^ (1 << 25) = 0x2000001; no bit reaches the last shift
    assert Xorshift(1).next_u32() == (0x2000001 * 0x2545F4914F6CDD1D % 2**64) >> 32
    assert 0 <= Xorshift(7).next_f32() < 1


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=60),
    st.sampled_from([0.1, 0.8, 1.0, 2.5]),
    st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.999, 1.0]),
    st.integers(0, 2**64 - 1),
)
def test_draws_are_those_of_the_plain_loops(logits, temperature, topp, seed):
    sampler = Sampler(len(logits), temperature, topp, seed)
    plain = PlainXorshift(seed)
    logits = np.array(logits, F)
    for _ in range(4):
        assert sampler.sample(logits) == draw_plainly(logits, temperature, topp, plain.coin())


@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0])
def test_a_large_vocabulary_draws_the_same(spread):
    logits = np.random.default_rng(3).standard_normal(20_000).astype(F) * F(spread)
    sampler, plain = Sampler(20_000, 0.8, 0.9, 5), PlainXorshift(5)
    for _ in range(2):
        assert sampler.sample(logits) == draw_plainly(logits, 0.8, 0.9, plain.coin())


def test_temperature_0_takes_the_first_of_the_largest():
    sampler = Sampler(4, 0.0, 0.9, 1)
    assert [sampler.sample(np.array([0, 3, 3, -np.inf], F)) for _ in range(3)] == [1, 1, 1]


def test_a_temperature_that_overflows_is_as_good_as_0():
    assert Sampler(3, 1e-40, 0.9, 1).sample(np.array([1, -5, 2], F)) == 2


def test_same_seed_same_draws_and_logits_stay():
    logits = np.random.default_rng(1).standard_normal(1000).astype(F)
    before = logits.copy()
    first, second = (Sampler(1000, 1.0, 0.9, 9) for _ in range(2))
    assert [first.sample(logits) for _ in range(20)] == [second.sample(logits) for _ in range(20)]
    np.testing.assert_array_equal(logits, before)
    other = Sampler(1000, 1.0, 0.9, 10)
    assert [other.sample(logits) for _ in range(20)] != [second.sample(logits) for _ in range(20)]


def test_frequencies_follow_the_probabilities():
    sampler = Sampler(3, 1.0, 1.0, 1234)
    probs = np.array([0.2, 0.5, 0.3])
    drawn = [sampler.sample(np.log(probs).astype(F)) for _ in range(4000)]
    np.testing.assert_allclose(np.bincount(drawn) / 4000, probs, atol=0.03)


def test_tokens_outside_topp_are_never_drawn():
    sampler = Sampler(4, 1.0, 0.6, 3)
    logits = np.log(np.array([0.05, 0.5, 0.4, 0.05])).astype(F)
    assert {sampler.sample(logits) for _ in range(300)} == {1, 2}


@pytest.mark.parametrize("topp", [1e-9, 0.5, 1.0])
def test_smallest_vocabularies(topp):
    assert Sampler(1, 1.0, topp, 1).sample(np.zeros(1, F)) == 0
    assert Sampler(2, 1.0, topp, 1).sample(np.array([0, -np.inf], F)) == 0


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(
    ("bad", "words"),
    [(np.nan, "1 of 3 logits are not finite, the first of token 1"), (np.inf, "1 of 3")],
)
def test_logits_that_are_not_finite_are_refused(temperature, bad, words):
    with pytest.raises(LogitsError, match=words):
        Sampler(3, temperature, 0.9, 1).sample(np.array([0, bad, 1], F))


def test_logits_of_nothing_and_of_another_size_are_refused():
    with pytest.raises(LogitsError, match="3 of 3 logits"):
        Sampler(3, 0.0, 0.9, 1).sample(np.full(3, -np.inf, F))
    with pytest.raises(LogitsError, match=r"shape \(4,\), expected 3"):
        Sampler(3, 0.0, 0.9, 1).sample(np.zeros(4, F))


@pytest.mark.parametrize(
    ("temperature", "topp", "words"),
    [
        (-0.1, 0.9, "temperature is -0.1"),
        (float("nan"), 0.9, "temperature is nan"),
        (1, float("nan"), "topp"),
    ],
)
def test_settings_that_cannot_be_are_refused(temperature, topp, words):
    with pytest.raises(RequestError, match=words):
        Sampler(3, temperature, topp, 1)
