"""Real servers, real workers, real coordinators: for the tests of the workers and for
benchmarks/faults.py."""
