"""Pages for a browser, whole in one file: templates, style and script of reports and galleries."""
