"""Measuring: sampling, statistics, environment record, report."""
