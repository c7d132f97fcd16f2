"""From URL to byte stream."""
