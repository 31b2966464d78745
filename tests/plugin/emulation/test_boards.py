"""`--emulate`: which boards, how many, on which links; and who may not have it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_dllama.backends.base import EngineOptions
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.backends.revision import RevisionBackend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError, parse_models
from pytest_dllama.emulation.boards import BOARDS, parse_boards
from pytest_dllama.emulation.spec import LinkError
from pytest_dllama.emulation.topology import of_boards, uniform
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.duet import Duet, Rules, Side
from pytest_dllama.lab.progress import Silent
from pytest_dllama.models import engine_facts
from pytest_dllama.models.model_files import open_model
from pytest_dllama.record.cell import PartTime
from pytest_dllama.stats.looks import Plan
from tests.plugin.lab.pairs.stated_times import StatedTimes, config
from tests.plugin.real_runs import SMALL_MODEL
from tests.plugin.validity.samples import sample


def _config(**given: str) -> LabConfig:
    return LabConfig.of_texts({name.replace("_", "-"): v for name, v in given.items()}, Path())


def test_boards_have_the_rates_that_their_published_tokens_give() -> None:
    """3.717 GB of a token's weights in 434.84 ms and in 1307.94 ms."""
    assert BOARDS["pi5"].memory_bps == 8.55e9
    assert BOARDS["pi4"].memory_bps == 2.84e9
    assert all("Llama 2 7B" in board.source for board in BOARDS.values())


def test_a_name_is_board_nodes_and_link() -> None:
    found = parse_boards("pi4x8-100mbe")
    assert (found.board.name, found.nodes, found.link) == ("pi4", 8, "100mbe")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pi5", "--emulate 'pi5': write BOARDxNODES-LINK, as in pi5x4-1gbe"),
        ("pi5x4", "write BOARDxNODES-LINK"),
        ("pi6x4-1gbe", "there is no board 'pi6'; there are pi5, pi4, of which somebody published"),
        ("pi55x4-1gbe", "there is no board 'pi55'; did you mean pi5?"),
        ("pi5x0-1gbe", "0 nodes; clusters have 1 to 64"),
        ("pi5x99-1gbe", "99 nodes"),
        ("pi5x4-10gbe", "there is no link '10gbe'; there are 1gbe, 100mbe, wifi5"),
    ],
)
def test_what_cannot_be_is_told_with_what_can(text: str, message: str) -> None:
    with pytest.raises(LinkError) as found:
        parse_boards(text)
    assert message in str(found.value)
    with pytest.raises(ConfigError, match="--emulate"):
        _config(emulate=text)


def test_emulate_sets_nodes_links_and_memory_and_is_of_the_fingerprint() -> None:
    config = _config(emulate="pi5x4-1gbe")
    assert config.node_counts == (4,)
    assert config.memory_bps == 8.55e9
    assert config.topology is not None
    assert config.topology.text == "pi5x4-1gbe"
    assert config.topology.link == uniform("1gbe").link
    assert config.topology.in_words == uniform("1gbe").in_words + "; memory=8.55GB/s"
    assert of_boards(parse_boards("pi4x4-1gbe")).in_words != config.topology.in_words
    assert _config(emulate="pi5x4-1gbe", nodes="4").node_counts == (4,)
    assert _config(link="1gbe").memory_bps is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"nodes": "2,4"}, "--emulate pi5x4-1gbe and --nodes 2,4 exclude each other"),
        ({"link": "1gbe"}, "--emulate pi5x4-1gbe and --link 1gbe exclude each other"),
        ({"links": "l.toml"}, "--emulate pi5x4-1gbe and --links l.toml exclude each other"),
        ({"hosts": "h.toml"}, "--emulate pi5x4-1gbe and --hosts exclude each other"),
    ],
)
def test_what_contradicts_it_is_refused(more: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as found:
        _config(emulate="pi5x4-1gbe", **more)
    assert message in str(found.value)
    assert "leave" in str(found.value)


def test_root_and_workers_of_any_revision_are_given_the_rate(tmp_path: Path) -> None:
    options = EngineOptions(memory_bps=2.84e9, inject="tpot=10%")
    for backend in (make_backend("embedded", options), RevisionBackend(tmp_path, (), 2.84e9)):
        command = backend.worker_command("h", 1, 1, "stdin")
        assert command[command.index("--memory-rate") + 1] == "2.84GB/s"
    assert "--memory-rate" not in make_backend("embedded", EngineOptions()).worker_command(
        "h", 1, 1, "stdin"
    )


def test_the_real_dllama_cannot_compute_as_slowly_as_a_board() -> None:
    with pytest.raises(ConfigError, match=r"only our own engine can compute as slowly .* --link"):
        make_backend("dllama", EngineOptions(binary="dllama", memory_bps=2.84e9))


def test_pairs_on_boards_that_were_not_kept_are_not_believed(tmp_path: Path) -> None:
    """Both sides compute as they say in every pair; only the base is too slow for the board."""
    (spec,) = parse_models(SMALL_MODEL)
    settings = replace(config(tmp_path), topology=of_boards(parse_boards("pi4x2-1gbe")))
    engine = StatedTimes(1.0)
    sides = (Side("base", "a", engine, settings), Side("new", "b", engine, settings))
    rules = Rules(Plan((3,)), None, 7)
    models = {spec.name: open_model(spec, lambda done, total: None)}
    duet = Duet(sides, models, [CellKey(spec.name, 2)], rules, tmp_path, Silent())
    (cell,) = duet.cells
    for side, share in (("base", 1.2), ("new", 1.01)):
        read = engine_facts.token_bytes(
            engine_facts.file_config(models[spec.name].model_file), 2, "q80", "reduce", 8
        )
        parts = [
            PartTime(phase="decode", part="feed-forward", rank=rank, ms=share * size / 2.84e6)
            for rank, size in enumerate(read)
        ]
        cell.samples[cast(Any, side)].append(
            sample(60.0).model_copy(update={"parts": tuple(parts)})
        )
    duet._check_emulation(cell)
    (said,) = cell.invalid
    assert said.startswith("base: board: computing took 0.06")
    assert "2 of 2 ranks are" in said
