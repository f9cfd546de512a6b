"""What a file costs on a device: how fast it is, what ran it, and whether that number is true."""
