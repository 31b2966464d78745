"""A run file to pages; only `pages` knows Jinja2."""
