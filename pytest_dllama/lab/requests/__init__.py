"""One request on a cluster: the processes that serve it, its end, whether its output is right."""
