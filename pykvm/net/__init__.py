"""Ethernet between guests and out of them: frames, cables, a switch, and what else hangs on it."""
