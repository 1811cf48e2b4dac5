"""The views: widgets that know the hub and nothing else."""
