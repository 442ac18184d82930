// Sort and search the tables of a multi-label report.

for (const id of ["per-class", "unread"]) if (element(id)) sortRows(element(id));
findRows(element("class-part"), element("per-class"), element("per-class-count"));
