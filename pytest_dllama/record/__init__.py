"""The run file's data model; knows nothing else."""
