"""The doctor of a run: what it measures, and what it makes of that."""

from sslzoo.doctor.diagnosis import Doctor, Trouble, Watch
from sslzoo.doctor.monitor import Monitor

__all__ = ["Doctor", "Monitor", "Trouble", "Watch"]
