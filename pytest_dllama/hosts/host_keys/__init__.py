"""What is known of the keys that hosts show: known_hosts, authorities, lists of revoked keys."""
