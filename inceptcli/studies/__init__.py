"""Test a claim of the paper by several training runs."""
