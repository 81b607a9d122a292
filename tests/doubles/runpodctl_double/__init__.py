"""The parts of the stand-in for runpodctl (../runpodctl)."""
