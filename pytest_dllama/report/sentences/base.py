"""What every statement of the report is: a kind and its numbers, no wording.

Each kind has a macro of the same name (in snake case) in `templates/LANG/sentences/`, in a file
named as the module of the kind, and a test compares the two lists. *When* to say something is
decided in `report.rules`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sentence:
    """Base of all kinds."""

    @classmethod
    def macro(cls) -> str:
        """Name of the macro that words this kind.

        >>> class BestNodes(Sentence): ...
        >>> BestNodes.macro()
        'best_nodes'
        """
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
