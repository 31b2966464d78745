"""Weight distribution by the root: each worker maps its slices, caches them, or is sent them."""

from __future__ import annotations

from dllama_engine.cluster.setup.rendezvous import Rendezvous
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.loading.mapping import map_weights
from dllama_engine.loading.sending import send_weights
from dllama_engine.loading.supply import Said, Supply
from dllama_engine.system.sizes import format_bytes
from dllama_engine.telemetry.events.loading import ShareLoad
from dllama_engine.telemetry.observer import Observer
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.frames import SESSION


def hand_out(
    model: ModelFile, weights: RankWeights, met: Rendezvous, observer: Observer, n_threads: int
) -> tuple[ShareLoad, ...]:
    """The root's own share packed, the workers' sent as far as they do not have them.

    No second copy of the model is ever held.

    Args:
        model: the file.
        weights: the root's own.
        met: all workers, connected.
        observer: hears how far it is, and what comes from caches.
        n_threads: that hash.

    Returns:
        How each worker came to its weights.

    Raises:
        EngineError: a worker that is gone or wants what there is not, a value that is not finite.
    """

    def attend() -> None:
        met.attend(wait_s=0.0)

    def progress(done: int, total: int) -> None:
        observer.progress("load", done, total, "bytes")
        attend()

    links = met.links
    said = {rank: Said.from_json(met.said("connected", rank), rank) for rank in links.peers}
    supply = Supply(model, weights.plan, said, n_threads)
    for rank, answer in supply.answers(attend).items():
        if rank not in supply.takers:
            met.pass_over("cached", rank)
        links.send_json(SESSION, rank, answer)
    if supply.takers:
        map_weights(model, weights, attend)  # ours while they load theirs
        supply.give_own()
        met.await_all("cached")
        _hear_kept(supply, met, observer)
    before = links.totals().sent_bytes
    send_weights(model, links, weights, progress, supply=supply)
    supply.finish()
    sent = links.totals().sent_bytes
    return tuple(supply.share(rank, sent[rank] - before[rank]) for rank in links.peers)


def _hear_kept(supply: Supply, met: Rendezvous, observer: Observer) -> None:
    done, total = 0, sum(supply.layouts[rank].nbytes for rank in supply.takers)
    for rank in sorted(supply.takers):
        kept = supply.hear(rank, met.said("cached", rank))
        observer.say(f"💾 Rank {rank}: {format_bytes(kept)} from its cache")
        done += kept
        observer.progress("cache", done, total, "bytes")
