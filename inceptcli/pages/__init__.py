"""Single-file HTML pages: templates, styles and scripts of reports and galleries."""
