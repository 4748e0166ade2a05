"""Ringing the bell and answering it; knows no feature."""
