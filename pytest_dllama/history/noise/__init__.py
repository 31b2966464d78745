"""What is known of the noise of a cluster: kept by every comparison, used by the next."""
