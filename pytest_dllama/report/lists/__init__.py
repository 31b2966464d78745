"""Tables that are not part of a report: for a terminal, or as Markdown, CSV and JSON."""
