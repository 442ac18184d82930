"""Key tables: tensor names of other libraries and ours."""
