"""What runs on a host: a few files of plain Python, sent there as one zip; standard library only.

`python3 agent.pyz COMMAND` reads a JSON object from standard input and prints one. A fault of the
user's or the host's is printed as `{"error": ...}`. Nothing is written outside the folders that
the controller names.
"""
