"""How are the pairs of a proof taken, and how long will it take?"""
