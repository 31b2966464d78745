"""What is done with runs that were kept: listed, compared, accepted, watched."""
