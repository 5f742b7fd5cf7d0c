-- How far work on memories has come, by its name.
CREATE TABLE memory_marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
