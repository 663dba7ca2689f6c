"""gdjax beside its peers: `python -m benchmarks` runs every contest and says which goals are met."""
