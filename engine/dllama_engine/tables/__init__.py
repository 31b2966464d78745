"""Where things stand in tables that Python and compiled code share: constants only."""
