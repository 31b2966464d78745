"""What links a cluster of local processes is put on, from texts and files; starts nothing."""
