"""What a request's time is divided into: the kinds of spans that engines tell, by id.

`prefill` is all work up to the first token, the step that gives it included, so that its parts add
up to TTFT; `decode` is what follows, and its parts add up to TPOT. That holds for rank 0: another
rank's parts are the same step as that rank lived it.
"""

from __future__ import annotations

TOKENIZING = "tokenizing"  # the prompt, on the root
EMBEDDING = "embedding"  # looking up the tokens' rows, on the root
QKV = "qkv"  # the norm before it included
ATTENTION = "attention"  # rotation and the cache included
OUTPUT_PROJECTION = "output-projection"
FEED_FORWARD = "feed-forward"  # norm, router and experts included
EXCHANGE_COPY = "exchange-copy"  # casting into the own message, adding up what came
EXCHANGE_WIRE = "exchange-wire"  # sending, and receiving what is there
EXCHANGE_WAIT = "exchange-wait"  # nothing to do until the last peer's message begins to come
LOGITS = "logits"
SAMPLING = "sampling"
DETOKENIZING = "detokenizing"
EVAL = "eval"  # of the real dllama: all computing
SYNC = "sync"  # of the real dllama: all exchanging
OTHER = "other"  # what no span covers

# In the order of a step; those of the real dllama before the rest.
PARTS = (
    *(TOKENIZING, EMBEDDING, QKV, ATTENTION, OUTPUT_PROJECTION, FEED_FORWARD),
    *(EXCHANGE_COPY, EXCHANGE_WIRE, EXCHANGE_WAIT, LOGITS, SAMPLING, DETOKENIZING),
    *(EVAL, SYNC, OTHER),
)
