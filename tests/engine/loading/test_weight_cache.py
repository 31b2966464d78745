"""Weights that workers keep: filled, used, damaged, cut, full, hostile; never a wrong byte."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dllama_engine.errors import EngineError, RequestError, WireError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.loading import cache, digests
from dllama_engine.loading.cache import WeightCache, kept_entries
from dllama_engine.loading.entry import DIGEST_BYTES, Entry, file_bytes
from dllama_engine.loading.pieces import Layout
from dllama_engine.loading.sending import send_weights
from dllama_engine.loading.settings import CacheSettings, parse_cache
from dllama_engine.loading.share import KeptShare
from dllama_engine.loading.supply import Said, Supply
from dllama_engine.sharding.plan import make_plan
from dllama_engine.telemetry.events.loading import ShareLoad
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.frames import SESSION
from dllama_engine.wire.links import Links
from tests.data import MODELS as GOLDEN
from tests.engine.loading.whole_slices import check_weights
from tests.engine.ranks import run_ranks

PIECE_BYTES = 1 << 12
LIMIT_BYTES = 1 << 30


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dllama_engine.loading.pieces.PIECE_BYTES", PIECE_BYTES)
    monkeypatch.setattr(digests, "_SETTLED_NS", 0)  # files of tests are as old as their test
    monkeypatch.setattr(digests, "default_folder", lambda: tmp_path / "cache")


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / "llama_q40.m", tmp_path / "model.m"))


@dataclass
class Session:
    """Both ends of loading over real sockets, one thread a rank, with a cache a worker."""

    path: Path
    folders: list[Path | None]  # of ranks 1, 2, ..
    limit_bytes: int = LIMIT_BYTES
    cut_after: int | None = None  # bytes after which the root goes away
    said: list[str] = field(default_factory=list)

    def run(self) -> tuple[ShareLoad, ...]:
        """Load once, check every weight, and tell how each worker came to its share."""
        with ModelFile.open(self.path) as model:
            self.plan = make_plan(model.config, 1 + len(self.folders))
            found = run_ranks(len(self.folders) + 1, lambda rank, links: self._rank(model, links))
            for rank, (weights, _) in enumerate(found):
                check_weights(model, self.plan, rank, weights)
        return found[0][1]

    def _rank(
        self, model: ModelFile, links: Links | None
    ) -> tuple[RankWeights, tuple[ShareLoad, ...]]:
        assert links is not None
        weights = RankWeights(self.plan, links.rank, 2)
        if links.rank:
            self._work(links, weights)
            return weights, ()
        return weights, self._supply(model, links, weights)

    def _supply(
        self, model: ModelFile, links: Links, weights: RankWeights
    ) -> tuple[ShareLoad, ...]:
        said = {
            rank: Said.from_json(links.receive_json(SESSION, rank), rank) for rank in links.peers
        }
        supply = Supply(model, self.plan, said, 2)
        for rank, answer in supply.answers(lambda: None).items():
            links.send_json(SESSION, rank, answer)
        for rank in supply.takers:
            supply.hear(rank, links.receive_json(SESSION, rank))
        before = links.totals().sent_bytes

        def progress(done: int, total: int) -> None:
            if self.cut_after is not None and done > self.cut_after:
                raise OSError("the root is gone")

        send_weights(model, links, weights, progress, supply=supply)
        supply.finish()
        sent = links.totals().sent_bytes
        return tuple(supply.share(rank, sent[rank] - before[rank]) for rank in links.peers)

    def _work(self, links: Links, weights: RankWeights) -> None:
        folder = self.folders[links.rank - 1]
        kept = WeightCache(CacheSettings(folder, self.limit_bytes), self.said.append)
        share = KeptShare(kept, self.plan, links.rank, self.said.append)
        try:
            message = {"maps": False, "keeps": kept.is_on, "offers": share.offers()}
            links.send_json(SESSION, 0, message)
            if share.has_offers:
                which = links.receive_json(SESSION, 0)["take"]
                if which is not None:
                    missing = share.take(which, weights, lambda: None)
                    links.send_json(SESSION, 0, {"missing": missing})
            share.receive(links, weights, lambda: None)
        finally:
            share.close()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def whole_share(session: Session, rank: int = 1) -> int:
    return Layout.of(session.plan, rank).nbytes


def test_the_first_start_fills_and_the_second_is_sent_nothing(
    model_file: Path, tmp_path: Path
) -> None:
    """Ranks of one host may share a folder; the model may have moved meanwhile."""
    folder = tmp_path / "kept"
    session = Session(model_file, [folder, folder])
    first = session.run()
    assert [share.source for share in first] == ["sent", "sent"]
    assert all(share.sent_bytes == share.expected_bytes > 50_000 for share in first)
    assert sorted(path.stat().st_size for path in files(folder)) == sorted(
        file_bytes(Layout.of(session.plan, rank)) for rank in (1, 2)
    )
    assert {path.stat().st_mode & 0o777 for path in files(folder)} == {0o600}
    again = [ShareLoad(share.rank, "cache", share.sent_bytes, 0, 0) for share in first]
    assert list(session.run()) == again
    shutil.rmtree(tmp_path / "cache")  # what the root knew of its file
    assert list(session.run()) == again
    model_file = model_file.rename(tmp_path / "elsewhere.m")
    assert list(Session(model_file, [folder, folder]).run()) == again
    assert len(files(folder)) == 2


def test_a_worker_without_a_cache_is_sent_everything(model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    for n in range(2):
        kept, not_kept = Session(model_file, [folder, None]).run()
        assert kept.source == ("cache" if n else "sent")
        assert (not_kept.source, not_kept.cached_bytes) == ("sent", 0)
    assert len(files(folder)) == 1


@pytest.mark.parametrize("what", ["data", "its digest"])
def test_a_damaged_piece_is_found_and_replaced(model_file: Path, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "kept"
    session = Session(model_file, [folder])
    session.run()
    (path,) = files(folder)
    layout = Layout.of(session.plan, 1)
    at = layout.ends[4] + 6 * DIGEST_BYTES + 48  # the sixth piece's data
    with path.open("r+b") as file:
        file.seek(at if what == "data" else at - DIGEST_BYTES)
        file.write(b"damage")
    (share,) = session.run()
    if what == "data":
        assert (share.source, share.sent_bytes) == ("cache", layout.pieces[5].nbytes)
        assert f"1 of {len(layout)} kept pieces are damaged and come again" in "".join(session.said)
    else:  # the whole of the digests is another: as if it were another model's
        assert (share.source, share.sent_bytes) == ("sent", layout.nbytes)
    (share,) = session.run()
    assert (share.source, share.sent_bytes) == ("cache", 0)


def test_a_cut_transfer_goes_on_where_it_ended(model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    cut = Session(model_file, [folder], cut_after=100_000)
    with pytest.raises((OSError, EngineError)):
        cut.run()
    (path,) = files(folder)
    assert path.stat().st_size < file_bytes(Layout.of(cut.plan, 1)) - PIECE_BYTES
    session = Session(model_file, [folder])
    (share,) = session.run()
    assert share.source == "cache"
    assert 0 < share.cached_bytes < whole_share(session)
    assert share.sent_bytes == whole_share(session) - share.cached_bytes
    assert session.run()[0].sent_bytes == 0
    assert files(folder) == [path]


def test_an_entry_may_end_anywhere(model_file: Path, tmp_path: Path) -> None:
    """As a kill, a full disk or a loss of power leaves it: what is not whole is not there."""
    folder = tmp_path / "kept"
    session = Session(model_file, [folder])
    session.run()
    (path,) = files(folder)
    layout, data = Layout.of(session.plan, 1), path.read_bytes()
    ends = [48, *(48 + end + DIGEST_BYTES * n for n, end in enumerate(layout.ends, start=1))]
    for size in (0, 10, 47, *ends[:3], ends[1] - 1, ends[1] + DIGEST_BYTES, ends[-1] - 1):
        path.write_bytes(data[:size])
        opened = Entry.open(path, layout)
        assert (opened is None) == (size < 48)
        if opened is not None:
            assert opened.n_pieces == sum(end <= size for end in ends[1:])
            opened.close()
    path.write_bytes(data[: ends[3]] + bytes(len(data) - ends[3]))  # of a length, but empty
    (share,) = session.run()
    assert share.expected_bytes == share.sent_bytes
    assert session.run()[0].sent_bytes == 0


def test_another_model_of_the_same_shape_is_not_taken_for_this_one(
    model_file: Path, tmp_path: Path
) -> None:
    """In the very place, of the same size and with its times: a conversion that was repeated."""
    folder = tmp_path / "kept"
    Session(model_file, [folder]).run()
    about = model_file.stat()
    with ModelFile.open(model_file) as model:
        spec = next(spec for spec in model.specs if spec.name == "block_matmul_w1")
        place = spec.offset + spec.nbytes - 16  # nibbles of a block of the last rank's: all finite
    with model_file.open("r+b") as file:
        file.seek(place)
        file.write(b"another")
    os.utime(model_file, ns=(about.st_atime_ns, about.st_mtime_ns))
    session = Session(model_file, [folder])
    (share,) = session.run()  # and every weight is compared with the file
    assert (share.source, share.sent_bytes) == ("sent", whole_share(session))
    assert len(files(folder)) == 2
    assert session.run()[0].sent_bytes == 0


def test_two_workers_may_store_the_same_at_once(model_file: Path, tmp_path: Path) -> None:
    """Of two clusters: both keep it, and the next one keeps one of them."""
    folder = tmp_path / "kept"
    with ModelFile.open(model_file) as model:
        layout = Layout.of(make_plan(model.config, 2), 1)
    kept = WeightCache(CacheSettings(folder), print)
    other = kept.new_entry(layout)  # begun, and not done with
    assert other is not None
    other.write(0, bytes(DIGEST_BYTES), bytes(layout.pieces[0].nbytes))
    session = Session(model_file, [folder])
    assert session.run()[0].source == "sent"
    assert len(files(folder)) == 2  # nobody took away what is being written
    other.close()
    whole = next(path for path in files(folder) if path.stat().st_size == file_bytes(layout))
    shutil.copy(whole, folder / f"{layout.key}-copy.weights")
    assert session.run()[0].sent_bytes == 0
    assert sum(path.stat().st_size == file_bytes(layout) for path in files(folder)) == 1


@pytest.fixture
def entries(model_file: Path, tmp_path: Path) -> tuple[Path, Layout]:
    """A folder with three old entries, the first one unused for longest."""
    folder = tmp_path / "kept"
    with ModelFile.open(model_file) as model:
        layout = Layout.of(make_plan(model.config, 2), 1)
    folder.mkdir(mode=0o700)
    for n in range(3):
        path = folder / f"old{n}.weights"
        path.write_bytes(bytes(100_000))
        os.utime(path, (1000 + n, 1000 + n))
    return folder, layout


def test_what_was_unused_for_longest_makes_room(entries: tuple[Path, Layout]) -> None:
    folder, layout = entries
    said: list[str] = []
    limit = file_bytes(layout) + 150_000
    entry = WeightCache(CacheSettings(folder, limit), said.append).new_entry(layout)
    assert entry is not None
    entry.close()
    assert [path.name for path in files(folder) if path.name.startswith("old")] == ["old2.weights"]
    assert said == []


def test_a_share_beyond_the_limit_costs_a_word_and_removes_nothing(
    entries: tuple[Path, Layout],
) -> None:
    folder, layout = entries
    said: list[str] = []
    assert WeightCache(CacheSettings(folder, 5000), said.append).new_entry(layout) is None
    assert len(kept_entries(folder)) == 3
    assert f"Weights are not kept in {folder}: they take" in said[0]
    assert "the limit is 4.88 KiB (--weight-cache SIZE)" in said[0]


def test_the_disk_keeps_some_room(
    entries: tuple[Path, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, layout = entries
    said: list[str] = []
    monkeypatch.setattr(cache, "SPARE_BYTES", shutil.disk_usage(folder).free + (1 << 40))
    assert WeightCache(CacheSettings(folder), said.append).new_entry(layout) is None
    assert "MiB free" in said[0] or "GiB free" in said[0]
    assert "are left alone" in said[0]


def test_a_disk_that_gets_full_costs_the_keeping_and_not_the_session(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kept"
    write, written = Entry.write, 0

    def full(entry: Entry, index: int, digest: bytes, data: bytes) -> None:
        nonlocal written
        written += len(data)
        if written > 60_000:
            write(entry, index, digest, data[:7])  # as much as there was room for
            raise OSError(28, "No space left on device")
        write(entry, index, digest, data)

    monkeypatch.setattr(Entry, "write", full)
    session = Session(model_file, [folder])
    (share,) = session.run()
    assert share.source == "sent"
    assert f"⚠️  Weights are not kept in {folder}: No space left on device" in session.said
    monkeypatch.setattr(Entry, "write", write)
    (share,) = session.run()
    assert 0 < share.cached_bytes < 60_000  # what came before is of use


def test_what_others_can_write_is_neither_used_nor_filled(model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    session = Session(model_file, [folder])
    session.run()
    (path,) = files(folder)
    path.chmod(0o620)
    assert session.run()[0].source == "sent"
    said = "".join(session.said)
    assert f"Kept weights are not used: others can write {path} (mode 620); chmod go-w" in said
    for each in files(folder):
        each.unlink()
    (tmp_path / "target").write_bytes(b"")
    path.symlink_to(tmp_path / "target")
    assert session.run()[0].source == "sent"
    assert (tmp_path / "target").read_bytes() == b""
    shutil.rmtree(folder)
    folder.mkdir()
    folder.chmod(0o770)
    assert session.run()[0].source == "sent"
    assert files(folder) == []
    assert f"Weights are not kept in {folder}: others can write {folder}" in session.said[-1]


def test_digests_are_kept_for_a_files_state_alone(model_file: Path) -> None:
    with ModelFile.open(model_file) as model:
        state, layout = digests.state_of(model), Layout.of(make_plan(model.config, 2), 1)
        assert state is not None
        own = [bytes([n % 256]) * DIGEST_BYTES for n in range(len(layout))]
        digests.keep(state, layout, own)
        assert digests.find(state, layout) == own
        model_file.touch()
        assert digests.state_of(model) is None  # another file than the one that is open
    with ModelFile.open(model_file) as model:
        assert digests.find(digests.state_of(model), layout) is None
        model_file.chmod(0o600)
        assert digests.state_of(model) != state
    folder = digests.digests_folder()
    assert folder is not None
    (path,) = files(folder)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert digests.find(state, layout) is None


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"offers": [{"pieces": "x", "digest": ""}]}, "worker 2 offers weights that cannot be"),
        ({"offers": [7]}, "worker 2 offers weights that cannot be"),
        ({"offers": 7}, "worker 2 offers weights that cannot be"),
    ],
)
def test_a_root_refuses_nonsense_of_a_worker(message: dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        Said.from_json(message, 2)


@pytest.mark.parametrize(
    "missing", [7, [[0, 0]], [[3, 2]], [[-1, 2]], [[0, 9999]], [[4, 6], [5, 8]]]
)
def test_a_root_refuses_pieces_that_there_are_not(model_file: Path, missing: Any) -> None:
    with ModelFile.open(model_file) as model:
        supply = Supply(model, make_plan(model.config, 2), {1: Said(False, True, ())}, 1)
        with pytest.raises(WireError, match="worker 1 wants"):
            supply.hear(1, {"missing": missing})


def test_what_the_option_says() -> None:
    assert parse_cache("off").folder is None
    assert parse_cache("/mnt/ssd") == CacheSettings(Path("/mnt/ssd"))
    assert parse_cache("/mnt/ssd,20GB") == CacheSettings(Path("/mnt/ssd"), 20_000_000_000)
    on, small = parse_cache("on"), parse_cache("1.5GiB")
    assert on.folder == small.folder
    assert (on.limit_bytes, small.limit_bytes) == (8 << 30, 3 << 29)
    for wrong in ("", "/mnt,much", "x,"):
        with pytest.raises(RequestError, match="expected off, on, a size as in 8GiB, a folder"):
            parse_cache(wrong)
