"""What tests/gpu/studies is made of."""
