"""Operations of the table between the products, against plain numpy: casts, parts, experts."""

from __future__ import annotations

import signal
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dllama_engine.collectives.combine import Combiner
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.collectives.rounds import part_table
from dllama_engine.formats.quants import FloatType, decode_tensor, encode_tensor, quantize_q80
from dllama_engine.program.linear import Activations, Linear
from dllama_engine.program.operands import Mixture
from dllama_engine.program.program import Program
from dllama_engine.program.threads import ThreadTeam
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import Span, split_units
from dllama_engine.tables.links import AGAIN
from dllama_engine.tables.routes import route_words

Floats = npt.NDArray[np.float32]
BATCH = 8


def random_floats(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(write: Callable[[Program], None], tokens: int, n_threads: int = 1) -> None:
    """Write a program for BATCH tokens and run all of it on some."""
    program, team = Program(1e-5, BATCH, n_threads), ThreadTeam(n_threads)
    write(program)
    table = program.table()
    team.install(table)
    team.run(0, len(table), tokens)
    team.close()


def through_q80(x: Floats) -> Floats:
    return decode_tensor(quantize_q80(x), FloatType.Q80)


# -- pauses ------------------------------------------------------------------------------------


def test_a_long_run_lets_signals_in() -> None:
    """Ctrl-C does not wait for the end of a forward pass: pauses return to Python now and then."""
    x, part = np.zeros((BATCH, 1 << 19), np.float32), np.ones((BATCH, 1 << 19), np.float32)
    program, team = Program(1e-5, BATCH), ThreadTeam(1)
    for _ in range(4000):
        program.add_cast(part, x, is_q80=False)
        program.pause()
    table = program.table()
    team.install(table)
    team.run(0, 2, 1)  # loaded
    statuses: list[int] = []
    previous = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            team.run(0, len(table), BATCH, attend=lambda op, status: statuses.append(status))
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert set(statuses) == {AGAIN}
    assert 1 < x[0, 0] < 4000
    team.run(0, 2, 1)  # nothing is left over
    team.close()


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


# -- casts -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(arrays(np.float32, (2, 64), elements=st.floats(-6e4, 6e4, width=32)))
@example(np.zeros((2, 64), np.float32))
@example(np.full((2, 64), np.float32(1e-42)))  # subnormal
def test_a_cast_is_the_reference_quantizer(x: Floats) -> None:
    """Apart and packed; values to within one, as the reference divides where dllama multiplies."""
    inputs = Activations.zeros(2, 64, FloatType.Q80, FloatType.Q40)
    packed = np.empty((2, 68), np.uint8)
    parts = part_table([Span(0, 64)], packed.ctypes.data, [0])

    def write(program: Program) -> None:
        program.load(x, inputs)
        program.pack(x, parts, is_q80=True)

    run(write, 2)
    reference, ours = quantize_q80(x).reshape(2, 2, 34), packed.reshape(2, 2, 34)
    assert np.array_equal(ours[..., :2], reference[..., :2])
    values = ours[..., 2:].view(np.int8)
    assert np.abs(values - reference[..., 2:].view(np.int8).astype(int)).max() <= 1
    assert np.array_equal(values.reshape(2, 64), inputs.values)
    halves = ours[..., :2].copy().view(np.float16)[..., 0]
    assert np.array_equal(halves.astype(np.float32), inputs.scales)
    assert np.array_equal(inputs.sums, -8 * values.astype(np.int32).sum(axis=2))


# -- attention ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float32, np.uint16])
@pytest.mark.parametrize("n_threads", [1, 3])
@settings(deadline=None, max_examples=15)
@given(tokens=st.integers(1, 40), pos=st.integers(0, 80), n_kv=st.sampled_from([1, 2, 5]))
def test_a_batch_attends_as_its_tokens_do_one_by_one(
    kind: type, n_threads: int, tokens: int, pos: int, n_kv: int
) -> None:
    """However it is cut into blocks, to the bit; query heads are shared out unevenly."""
    head_dim, batch_size, n_positions = 8, 40, 120
    first_head = np.array([0, 3, 4, 6, 7, 8][: n_kv + 1], np.int64)
    n_heads = int(first_head[-1])
    qkv = random_floats(0, batch_size, (n_heads + 2 * n_kv) * head_dim)
    tables = random_floats(1, 2, n_positions, head_dim // 2)
    stored = random_floats(2, 2, n_kv, n_positions, head_dim)
    results = []
    for rows in ([tokens], [1] * tokens):
        out = np.full((batch_size, n_heads * head_dim), np.nan, np.float32)
        cache = stored.copy() if kind is np.float32 else stored.astype(np.float16).view(np.uint16)
        own, start = qkv.copy(), 0
        team = ThreadTeam(n_threads)
        for n in rows:
            program = Program(1e-5, batch_size, n_threads)
            program.attention(
                own[start:], cache[0], cache[1], n_heads, first_head, (tables[0], tables[1]),
                falcon=False, out=out[start:],
            )  # fmt: skip
            table = program.table()
            team.install(table)
            team.run(0, len(table), n, pos + start)
            start += n
        team.close()
        assert np.isnan(out[tokens:]).all()
        results.append((out[:tokens].tobytes(), cache.tobytes()))
    assert results[0] == results[1]


# -- parts -------------------------------------------------------------------------------------


def alone(rank: int, vectors: list[Floats], buffer_type: FloatType) -> Combiner:
    """A rank without links, every rank's vectors lying where their frames would arrive."""
    encoded = [encode_tensor(v, buffer_type).reshape(-1) for v in vectors if v.size]
    room = {"gathered": np.concatenate(encoded)}
    mesh = COLLECTIVES[Collective.MESH]
    return Combiner(rank, len(vectors), None, buffer_type, mesh, room)


@pytest.mark.parametrize("buffer_type", [FloatType.Q80, FloatType.F32])
@pytest.mark.parametrize(("n", "world_size"), [(64, 2), (1120, 3), (96, 5)])
@pytest.mark.parametrize(("tokens", "n_threads"), [(1, 1), (7, 3)])
def test_parts_are_added_in_rank_order(
    buffer_type: FloatType, n: int, world_size: int, tokens: int, n_threads: int
) -> None:
    vectors = [random_floats(rank, tokens, n) for rank in range(world_size)]
    mesh = alone(1, vectors, buffer_type)
    local, x = np.zeros((BATCH, n), np.float32), random_floats(99, BATCH, n)
    local[:tokens] = vectors[1]
    expected = x.copy()
    run(lambda program: mesh.all_reduce(program, local, x), tokens, n_threads)
    for values in vectors:
        expected[:tokens] += through_q80(values) if buffer_type is FloatType.Q80 else values
    # Rank 1's own part is cast by the kernel, whose values may differ by one from the reference's.
    assert np.allclose(x, expected, atol=0.05 if buffer_type is FloatType.Q80 else 0)
    assert np.array_equal(x[tokens:], expected[tokens:])


@pytest.mark.parametrize("buffer_type", [FloatType.Q80, FloatType.F32])
@pytest.mark.parametrize("weight_type", [FloatType.Q40, FloatType.F32])
@pytest.mark.parametrize(("n", "world_size"), [(64, 2), (1120, 3), (96, 5)])
def test_slices_are_gathered_at_their_columns(
    buffer_type: FloatType, weight_type: FloatType, n: int, world_size: int
) -> None:
    """Uneven slices, empty ones too; whatever the products read of them is filled."""
    columns, tokens, times = split_units(n, 32, world_size), 3, 2
    vectors = [random_floats(r, tokens * times, s.size) for r, s in enumerate(columns)]
    mesh = alone(0, vectors, buffer_type)
    local = np.zeros((BATCH * times, columns[0].size), np.float32)
    local[: tokens * times] = vectors[0]
    into = Activations.zeros(BATCH * times, n, buffer_type, weight_type)
    whole = Activations.zeros(BATCH * times, n, buffer_type, weight_type)
    x = np.zeros((BATCH * times, n), np.float32)
    x[: tokens * times] = np.concatenate(vectors, axis=1)

    def write(program: Program) -> None:
        mesh.all_gather(program, local, into, columns, times)

    run(write, tokens)
    run(lambda program: program.load(x, whole), tokens * times)
    assert np.array_equal(into.scales, whole.scales)
    assert np.abs(into.values.astype(int) - whole.values).max(initial=0) <= 1
    assert np.allclose(into.floats, whole.floats, atol=0.05)
    if into.sums.size:
        sums = into.values.reshape(len(x), -1, 32).astype(np.int32).sum(axis=2)
        assert np.array_equal(into.sums, -8 * sums)


# -- experts -----------------------------------------------------------------------------------


def reference_route(gate: Floats, n_active: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """Softmax over all, the largest kept (of equals the first), renormalised, in order."""
    shifted = np.exp(gate - gate.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :n_active]
    experts = np.sort(best, axis=1)
    chosen = np.take_along_axis(probabilities, experts, axis=1)
    return experts, (chosen / chosen.sum(axis=1, keepdims=True)).astype(np.float32)


def new_mixture(n_experts: int, n_active: int) -> Mixture:
    return Mixture(
        n_experts,
        n_active,
        np.zeros((BATCH, n_active), np.int64),
        np.zeros((BATCH, n_active), np.float32),
        np.zeros(route_words(n_experts, BATCH * n_active), np.int64),
    )


@settings(deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.integers(1, n),
            arrays(np.float32, (BATCH, n), elements=st.floats(-30, 30, width=32)),
        )
    ),
    st.integers(1, BATCH),
)
@example((2, np.zeros((BATCH, 4), np.float32)), 3)  # all alike
def test_the_router_picks_what_numpy_picks(case: tuple[int, Floats], tokens: int) -> None:
    n_active, logits = case
    mixture = new_mixture(logits.shape[1], n_active)
    gate = logits.copy()
    run(lambda program: program.route(gate, mixture), tokens)
    experts, weights = reference_route(logits[:tokens], n_active)
    picked = mixture.experts[:tokens]
    probabilities = np.take_along_axis(logits[:tokens], picked, axis=1)
    assert np.allclose(np.sort(probabilities), np.sort(_taken(logits[:tokens], experts)), atol=1e-4)
    assert (np.diff(picked, axis=1) > 0).all()
    assert np.allclose(mixture.weights[:tokens].sum(axis=1), 1, atol=1e-5)
    same = picked == experts
    assert np.allclose(mixture.weights[:tokens][same], weights[same], rtol=1e-4, atol=1e-6)


def _taken(logits: Floats, experts: npt.NDArray[np.intp]) -> Floats:
    return np.take_along_axis(logits, experts, axis=1)


@pytest.mark.parametrize("weight_type", [FloatType.Q40, FloatType.Q80, FloatType.F16])
@pytest.mark.parametrize("buffer_type", [FloatType.Q80, FloatType.F32])
@pytest.mark.parametrize(("tokens", "n_threads"), [(1, 1), (6, 1), (6, 3)])
@pytest.mark.parametrize(("n_experts", "n_active"), [(1, 1), (5, 2), (4, 4)])
def test_each_token_goes_through_its_experts(
    weight_type: FloatType,
    buffer_type: FloatType,
    tokens: int,
    n_threads: int,
    n_experts: int,
    n_active: int,
) -> None:
    dim, rows = 64, 40
    gate, x = random_floats(1, BATCH, n_experts), random_floats(2, BATCH, dim)
    raws = [encode_tensor(random_floats(3 + e, rows, dim), weight_type) for e in range(n_experts)]
    matrices = [Linear(rows, dim, weight_type) for _ in raws]
    for matrix, raw in zip(matrices, raws, strict=True):
        matrix.fill(raw, 0, "an expert")
    mixture = new_mixture(n_experts, n_active)
    inputs = Activations.zeros(BATCH, dim, buffer_type, weight_type)
    taken = Activations.zeros(BATCH * n_active, dim, buffer_type, weight_type)
    addresses = np.zeros((n_experts, 2), np.int64)
    results = np.zeros((BATCH * n_active, rows), np.float32)
    out, logits = np.full((BATCH, rows), 9, np.float32), gate.copy()

    def write(program: Program) -> None:
        program.load(x, inputs)
        program.route(gate, mixture)
        program.take(mixture, inputs, taken)
        program.experts(mixture, matrices, taken, addresses, results)
        program.combine(mixture, results, out)

    run(write, tokens, n_threads)
    rounded = through_q80(x) if buffer_type is FloatType.Q80 else x
    experts, weights = reference_route(logits, n_active)
    for token in range(tokens):
        expected = sum(
            weight * (decode_tensor(raws[expert], weight_type) @ rounded[token])
            for expert, weight in zip(experts[token], weights[token], strict=True)
        )
        assert np.abs(out[token] - expected).max() < 0.03 * np.abs(expected).max() + 1e-3
    assert (out[tokens:] == 9).all()
