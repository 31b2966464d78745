"""A forward pass as a static list of operations (a graph, replayed each step), and its matrices."""
