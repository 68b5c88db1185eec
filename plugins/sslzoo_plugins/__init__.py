"""The first-party pretext methods, one file each, by category."""
