"""Pages of the documentation, one per question, shown by `inceptcli guide`."""
