"""The parts of tests/gpu/studies."""
