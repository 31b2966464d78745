"""Why the system refused something, as the engine says it too.

Loaded by who measures, not by every pytest run; and before it is needed, for where no file can be
opened any more, no module can.
"""

from dllama_engine.system.os_reason import reason_of

__all__ = ["reason_of"]
