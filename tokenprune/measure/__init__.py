"""Measuring truthfully: FLOPs, time and memory."""
