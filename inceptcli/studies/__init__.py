"""Test a claim of the paper with several training runs."""
