"""From the file to packed weights: interleaving, threads, pieces, and both ends of the way."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import binding, ir

from dllama_engine.errors import ModelFileError, PlanError
from dllama_engine.formats.model_file import ModelFile, tensor_specs
from dllama_engine.formats.quants import FloatType, encode_tensor, row_bytes
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.kernels.matmul import packing
from dllama_engine.loading.mapping import map_weights, open_same
from dllama_engine.loading.pieces import PIECE_BYTES, pieces
from dllama_engine.loading.receiving import receive_weights
from dllama_engine.loading.sending import send_weights
from dllama_engine.loading.supply import Said, Supply
from dllama_engine.program.linear import Linear
from dllama_engine.sharding.plan import SyncMode, make_plan
from dllama_engine.sharding.slices import tensor_spans
from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.transformer.weights import RankWeights, row_parts
from dllama_engine.wire.links import Links
from tests.data import MODELS as GOLDEN
from tests.engine.loading.whole_slices import check_weights
from tests.engine.processes import inference_arguments, run, start_worker
from tests.engine.ranks import run_ranks

Bytes = npt.NDArray[np.uint8]


def naive_q40(raw: Bytes, weights: Any, deltas: Any, first: int) -> None:
    """Row `first` + r of the packed matrix is lane (first + r) % 8 of group (first + r) // 8."""
    for r, row in enumerate(raw.reshape(len(raw), -1, 18)):
        group, lane = divmod(first + r, 8)
        deltas[group, :, lane] = row[:, :2].copy().view(np.uint16)[:, 0]
        weights[group].reshape(-1, 4, 8, 4)[:, :, lane] = row[:, 2:].reshape(-1, 4, 4)


def anywhere(shape: tuple[int, ...], past_an_edge: int) -> Bytes:
    """An array that begins so many bytes behind an edge of 64."""
    memory = np.zeros(int(np.prod(shape)) + 128, np.uint8)
    start = -memory.ctypes.data % 64 + past_an_edge
    return memory[start : start + int(np.prod(shape))].reshape(shape)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(0, 20),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_interleaved_rows_are_those_of_the_naive_twin_and_no_others_are_touched(
    rows: int, blocks: int, first: int, margin: int, on_an_edge: bool, seed: int
) -> None:
    """On an edge of 32 bytes vectors are written past the caches, elsewhere through them."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 256, (rows, 18 * (blocks + 2 * margin)), np.uint8)
    raw = whole[:, 18 * margin : 18 * (margin + blocks)]  # a slice of columns, where it lies
    raw.reshape(rows, blocks, 18)[..., 1] &= 0xBB  # finite deltas
    raw.setflags(write=False)
    groups = -(-(first + rows) // 8) + 1
    weights = anywhere((groups, blocks, 4, 32), 0 if on_an_edge else 1)
    weights[:] = rng.integers(0, 256, weights.shape, np.uint8)
    deltas = rng.integers(0, 256, (groups, blocks, 8)).astype(np.uint16)
    expected, expected_deltas = weights.copy(), deltas.copy()
    naive_q40(raw, expected, expected_deltas, first)
    assert packing.pack_q40(raw.ctypes.data, raw.strides[0], rows, weights, deltas, first)
    assert np.array_equal(weights, expected)
    assert np.array_equal(deltas, expected_deltas)


@pytest.mark.parametrize("streams", [False, True])
def test_a_raspberry_pi_packs_with_vectors_too(streams: bool) -> None:
    """As the compiler of this machine writes it for AArch64: no byte is moved by itself."""
    text = aarch64_assembly(streams)
    assert text.count("prfm") == 8
    assert text.count("ldrb") == text.count("strb") == 0
    assert (text.count("stnp") > 0) == streams
    assert "\tbl\t" not in text  # no helper function is called


def aarch64_assembly(streams: bool) -> str:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    word, module = ir.IntType(64), ir.Module()
    module.triple = "aarch64-unknown-linux-gnu"
    function = ir.Function(module, ir.FunctionType(ir.IntType(1), [word] * 4), "block")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(packing.emit_block(builder, *function.args, streams=streams))
    parsed = binding.parse_assembly(str(module))
    target = binding.Target.from_triple(module.triple)
    machine = target.create_target_machine(cpu="cortex-a72", opt=3)
    passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(3))
    passes.getModulePassManager().run(parsed, passes)
    return str(machine.emit_assembly(parsed))


@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E01])
@pytest.mark.parametrize("row", [0, 7, 8, 17])
@pytest.mark.parametrize("block", [0, 2])
def test_one_delta_that_is_not_finite_is_found(bits: int, row: int, block: int) -> None:
    raw = encode_tensor(np.ones((18, 96), np.float32), FloatType.Q40).copy()
    raw.reshape(18, 3, 18)[row, block, :2] = np.array([bits], np.uint16).view(np.uint8)
    linear = Linear(18, 96, FloatType.Q40)
    with pytest.raises(ModelFileError, match=r"tensor w: .*not finite"):
        linear.fill(raw, 0, "tensor w")
    linear.fill(np.delete(raw, row, axis=0), 0, "tensor w")


@given(st.integers(0, 100), st.integers(1, 300), st.integers(1, 9))
def test_parts_for_threads_cover_all_rows_and_share_no_group(
    first: int, rows: int, threads: int
) -> None:
    parts = row_parts(first, rows, threads)
    assert [row for part in parts for row in range(*part)] == list(range(first, first + rows))
    groups = [{row // 8 for row in range(*part)} for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert len(parts) <= threads


def filled(path: Path, n_threads: int) -> RankWeights:
    with ModelFile.open(path) as model:
        plan = make_plan(model.config, 1)
        weights = RankWeights(plan, 0, n_threads)
        send_weights(model, Links(0, 1, {}), weights)
    return weights


@pytest.mark.parametrize("weight_type", ["q40", "q80", "f16", "f32"])
def test_any_number_of_threads_packs_the_same(tmp_path: Path, weight_type: str) -> None:
    shape = f"tiny-gqa,dim=512,hidden_dim=1024,vocab_size=5000,weight_type={weight_type}"
    model, _ = write_synthetic(shape, tmp_path)
    one, three = filled(model, 1), filled(model, 3)
    for key, linear in one.linears.items():
        for a, b in zip(linear.packed, three.linears[key].packed, strict=True):
            assert a.any()
            assert np.array_equal(a, b), key
    assert one.norms.keys() == three.norms.keys()


def test_packing_threads_end_with_the_loading(tmp_path: Path) -> None:
    model, _ = write_synthetic("tiny-llama,dim=512,hidden_dim=1024", tmp_path)
    filled(model, 3)
    assert not [t for t in threading.enumerate() if t.name.startswith("dllama-packing")]


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("sync_mode", list(SyncMode))
@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("name", ["llama_q40", "qwen3_f32", "qwen3moe_q40"])
def test_every_rank_gets_its_slices(
    name: str, world_size: int, sync_mode: SyncMode, maps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What both ends fill over real sockets, against whole slices; small pieces."""
    monkeypatch.setattr("dllama_engine.loading.pieces.PIECE_BYTES", 1 << 12)
    with ModelFile.open(GOLDEN / f"{name}.m") as model:
        plan = make_plan(model.config, world_size, sync_mode=sync_mode)

        def load(rank: int, links: Links | None) -> RankWeights:
            assert links is not None
            weights = RankWeights(plan, rank, 2)
            if rank == 0:
                said = Said(maps, keeps=False, offers=())
                supply = Supply(model, plan, dict.fromkeys(range(1, world_size), said), 1)
                send_weights(model, links, weights, supply=supply)
            elif maps:
                same = open_same(model.identity)
                assert same is not None
                map_weights(same, weights)
            else:
                receive_weights(links, weights)
            return weights

        for rank, weights in enumerate(run_ranks(world_size, load)):
            check_weights(model, plan, rank, weights)


def test_pieces_are_small_and_cover_every_slice() -> None:
    plan = make_plan(parse_shape("llama-7b"), 3)
    for spec in tensor_specs(plan.config):
        for rank in range(3):
            spans = tensor_spans(plan, spec, rank)
            found = list(pieces(plan, spec, rank))
            if spans is None or spec.name == "embedding":
                assert found == []
                continue
            assert [r for s in found for r in range(s.start, s.stop)] == list(range(spans[0].size))
            width = row_bytes(spec.float_type, spans[1].size)
            assert all(span.size * width <= PIECE_BYTES for span in found)
            assert all(span.start % 8 == 0 for span in found)


def some_weights(n_threads: int = 2) -> tuple[RankWeights, TensorSpec, Bytes]:
    config = parse_shape("tiny-llama,dim=512,hidden_dim=1024")
    weights = RankWeights(make_plan(config, 1), 0, n_threads)
    spec = next(spec for spec in tensor_specs(config) if spec.name == "block_matmul_w1")
    return weights, spec, np.zeros((1024, row_bytes(FloatType.Q40, 512)), np.uint8)


def test_rows_that_come_twice_or_are_of_another_size_are_refused() -> None:
    weights, spec, raw = some_weights()
    with pytest.raises(PlanError, match=r"block_matmul_w1, layer 0: rank 0 was given rows of 36"):
        weights.add(spec, raw[:, :36])
    with pytest.raises(PlanError, match="rows 1000 to 1099 of its slice, which it does not hold"):
        weights.add(spec, raw[:100], 1000)
    weights.add(spec, raw[:600])
    with pytest.raises(PlanError, match="which it does not hold or has already"):
        weights.add(spec, raw, 0)
    weights.add(spec, raw[600:], 600)
    with pytest.raises(PlanError, match=r"rows 0 to 7 .*or has already"):
        weights.add(spec, raw[:8])
    with pytest.raises(PlanError, match="tensor block_matmul_q, layer 0 never arrived"):
        weights.finish()


def test_a_bad_value_found_by_a_thread_is_told_and_what_happens_beside_is_waited_for() -> None:
    weights, spec, raw = some_weights()
    raw[1023, 1] = 0x7C
    beside = []
    with (
        pytest.raises(ModelFileError, match="tensor block_matmul_w1, layer 0: holds a scale"),
        weights.adding(spec, raw),
    ):
        beside.append("done")
    assert beside == ["done"]


def test_an_error_beside_the_packing_waits_for_the_threads_that_read_the_piece() -> None:
    weights, spec, raw = some_weights()
    raw[:] = 1
    with pytest.raises(OSError, match="gone"), weights.adding(spec, raw):
        raise OSError("the link is gone")
    linear = weights.linears["w13", 0, -1]
    assert linear.packed[0][: 1024 // 8].all()  # nobody was left in mid-piece


def test_another_file_of_that_name_is_not_the_roots(tmp_path: Path) -> None:
    model, _ = write_synthetic("tiny-llama", tmp_path)
    with ModelFile.open(model) as opened:
        identity = opened.identity
    assert open_same(None) is None
    same = open_same(identity)
    assert same is not None
    same.close()
    copy = tmp_path / "copy"
    shutil.copy2(model, copy)
    copy.replace(model)  # the same bytes and times, another inode
    assert open_same(identity) is None
    model.unlink()
    assert open_same(identity) is None


@pytest.mark.parametrize(("how", "share"), [("map", 0.0), ("send", 0.4)])
def test_workers_of_the_roots_machine_map_its_file_unless_told_otherwise(
    tmp_path: Path, how: str, share: float
) -> None:
    """The same tokens either way; what loading moved over the link tells which it was."""
    worker = start_worker(tmp_path, "worker")
    try:
        done = run(
            *inference_arguments(), "--workers", worker.address, "--local-weights", how,
            "--events", "-",
        )  # fmt: skip
    finally:
        worker.stop()
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    (ready,) = [event for event in events if event["event"] == "ready"]
    (plan,) = [event for event in events if event["event"] == "plan"]
    sent = sum(link["sent_payload_bytes"] for link in ready["links"])
    weights = plan["ranks"][1]["weight_bytes"]
    assert sent >= share * weights
    assert (sent < 0.1 * weights) == (how == "map")
    assert ("Mapping" in worker.log) == (how == "map")
