"""The errors the engine raises on purpose: what, the value found, the limit and the remedy."""


class EngineError(Exception):
    """Base of all errors that a user of the engine can cause and mend."""


class ModelFileError(EngineError):
    """A `.m` file that cannot be read: the message names the file, the offset or tensor."""


class TokenizerError(EngineError):
    """A `.t` file that cannot be read, or text that the vocabulary cannot hold."""


class PlanError(EngineError):
    """A model that cannot be split over the asked number of nodes."""


class RequestError(EngineError):
    """A request that the model or its context cannot serve (prompt, steps, sampling)."""


class InsufficientMemoryError(EngineError):
    """A host has less free memory than its share of the model needs."""


class OutputError(EngineError):
    """What this process writes cannot be written: a full disk, a file that may not grow."""


class WireError(EngineError):
    """The link to a peer cannot be used; `rank` is that peer's, where it is known.

    `witness` is the rank at this end of that link, of an error that was heard of.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank
        self.witness: int | None = None


class HandshakeError(WireError):
    """A peer that is not of this cluster, of this version, or holds another token."""


class WorkerLost(WireError):
    """A peer closed its socket or made no progress before the deadline."""
