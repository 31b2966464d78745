"""Who runs the table: threads, and the sockets of exchanges."""
