"""Fast enough? Slower? Why?"""
