"""How weights get to the ranks: sent, mapped from the root's file, or kept from the last time."""
