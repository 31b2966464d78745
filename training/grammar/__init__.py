"""The grammar of the stories: what can happen, in which order, and in which words."""
