"""Charts drawn as SVG or PNG, in light and dark, in any language; matplotlib is known only here."""
