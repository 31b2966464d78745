"""What do the pairs of a proof say, and what is written of it?"""
