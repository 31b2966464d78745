"""How a session begins and ends: from the options to a lab, from a lab to files."""
