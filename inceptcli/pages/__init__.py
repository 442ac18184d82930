"""Single-file HTML pages: templates, style and script of reports and galleries."""
