"""From a trained network to the file that ships, and back to its predictions."""
