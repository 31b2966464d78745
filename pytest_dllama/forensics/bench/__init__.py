"""Which requests does a result file of another benchmark tell of?"""
